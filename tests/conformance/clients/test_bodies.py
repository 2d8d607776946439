"""Requests in the spellings that Wave's clients use: different spellings have the same meaning."""

import base64
import gzip
import json
import random
from typing import Any

import pytest

from tests.conformance.clients.nf_wave import NO_CONFIG, body_of
from tests.e2e.busybox import archive
from tests.e2e.client import Swell, as_data, encoded
from tests.e2e.raw import SUBMIT, ask, submit
from tests.e2e.upstreams import Upstreams

TOLERATED: dict[str, dict[str, Any]] = {
    "b1 keys absent": {},
    "b1 keys null": {"packages": None, "scanMode": None, "format": None, "towerAccessToken": None, "scanLevels": None},
    "b2 all keys of nf-wave": body_of({}),
    "b3 an empty config": {"containerConfig": NO_CONFIG},
    "b4 no layers and a command": {"containerConfig": {"layers": [], "cmd": ["true"]}},
    "b5 null layers and a variable": {"containerConfig": {"layers": None, "env": ["A=1"]}},
    "b8 nanoseconds": {"timestamp": "2026-11-23T12:59:39.823251298Z"},
    "b8 half hours": {"timestamp": "2026-11-23T12:59:39+05:30"},
    "b8 without seconds": {"timestamp": "2026-11-23T12:59Z"},
    "b8 null": {"timestamp": None},
    "b9 unknown keys": {"what": {"is": ["this"]}},
    "b11 a large workspace": {"towerWorkspaceId": 12345678901},
    "b20 compression": {"buildCompression": {"mode": "gzip"}},
    "b20 compression with nulls": {"buildCompression": {"mode": "gzip", "level": None, "force": None}},
    "b21 levels without a mode": {"scanLevels": ["LOW"], "scanMode": None},
    "b22 amd64": {"containerPlatform": "amd64"},
    "b22 x86_64": {"containerPlatform": "linux/x86_64"},
    "b22 arm64": {"containerPlatform": "arm64"},
    "b25 no platform": {"containerPlatform": None},
    **{
        f"b26 skipHashing {value}": {
            "containerConfig": {"layers": [as_data(archive({"a": b"a"})) | {"skipHashing": value}]}
        }
        for value in (True, False, None)
    },
    "l12 an empty value": {"containerConfig": {"env": ["A="]}},
    "t13 members of a later version": {"containerConfig": {"cmd": ["x"], "later": 1}, "later": {"a": [1]}},
    "t15 an empty token": {"towerAccessToken": ""},
    "t16 an endpoint alone": {"towerEndpoint": "https://platform.example.org/api"},
    "s4 no scan": {"scanMode": "none"},
}


@pytest.mark.row("B1", "B2", "B3", "B4", "B5", "B8", "B9", "B11", "B20", "B21", "B22", "B25", "B26")
@pytest.mark.row("T15", "T16", "S4", "S5")
@pytest.mark.parametrize("name", TOLERATED)
async def test_bodies_of_clients_are_accepted(swell: Swell, upstreams: Upstreams, name: str) -> None:
    """Clients in use send these forms and cannot be changed."""
    answer = await submit(swell, **TOLERATED[name] | {"containerImage": upstreams.image("docker-list")})
    status = (await ask(swell, "GET", f"{SUBMIT}/{answer.json['requestId']}/status")).json

    assert (answer.status, answer.json.get("succeeded")) == (200, True), answer.body
    assert (status["status"], status["succeeded"]) == ("DONE", True)


CONDA = {"type": "CONDA", "entries": ["samtools=1.17"]}
MAMBA_1 = {"mambaImage": "mambaorg/micromamba:1.5.10-noble"}
TOLERATED_PACKAGES: dict[str, tuple[dict[str, Any], str]] = {
    "b12 options of conda and of pixi": (
        CONDA | {"condaOpts": MAMBA_1, "pixiOpts": {"pixiImage": "p:1"}},
        "micromamba",
    ),
    "b13 no channels": (CONDA | {"channels": []}, "micromamba"),
    "b13 null channels": (CONDA | {"channels": None}, "micromamba"),
    "b14 a lock file of the web": ({"type": "CONDA", "entries": ["https://a.test/x.yml"]}, "https://a.test/x.yml"),
    "b15 two in one entry": ({"type": "CONDA", "entries": ["samtools bwa"]}, "micromamba"),
    "b16 an environment": (
        {"type": "CONDA", "environment": encoded("channels: [a]\ndependencies: [b]\n"), "channels": ["a", "c"]},
        "micromamba",
    ),
    "b19 cran without channels": ({"type": "CRAN", "entries": ["dplyr"]}, "rocker/r-ver"),
    "b32 the clients' own micromamba": (CONDA | {"condaOpts": MAMBA_1}, "mambaorg/micromamba:2-amazon2023"),
    "b32 one of their own": (CONDA | {"condaOpts": {"mambaImage": "r.test/mamba:1"}}, "r.test/mamba:1"),
    "b33 of pip": ({"type": "CONDA", "entries": ["python", "pip:numpy"]}, "micromamba"),
}


@pytest.mark.row("B12", "B13", "B14", "B15", "B16", "B19", "B32", "B33")
@pytest.mark.parametrize("name", TOLERATED_PACKAGES)
async def test_packages_of_clients_are_accepted(swell: Swell, name: str) -> None:
    """A dry run shows the resulting container file."""
    packages, word = TOLERATED_PACKAGES[name]

    answer = await submit(swell, packages=packages, dryRun=True)

    assert answer.status == 200, answer.body
    assert word in answer.json["containerFile"]


@pytest.mark.row("B10", "B30")
async def test_escapes_and_raw_text_are_the_same(swell: Swell, upstreams: Upstreams) -> None:
    """The order of keys does not matter either: equal inputs are one build."""
    body = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV A=é\n"), "fingerprint": "é", "format": None}

    sent = [body, dict(reversed(body.items()))]
    ids = {
        (await ask(swell, "POST", SUBMIT, json.dumps(each, ensure_ascii=at == 0).encode())).json["buildId"]
        for at, each in enumerate(sent)
    }

    assert len(ids) == 1


@pytest.mark.row("B28")
@pytest.mark.parametrize("path", [SUBMIT, "/container-token", "/v1alpha1/inspect", "/validate-creds"])
async def test_a_body_that_is_too_large_is_refused_with_a_reason(swell: Swell, path: str) -> None:
    """The client must see the limit, not a broken connection."""
    answer = await ask(swell, "POST", path, {"containerImage": "a", "fingerprint": "x" * (24 << 20)})

    assert (answer.status, answer.json["code"]) == (413, "SIZE_INVALID")


@pytest.mark.row("B28")
async def test_the_largest_request_of_the_command_line_is_accepted(swell: Swell, upstreams: Upstreams) -> None:
    """10 MiB of layers in `data:` locations and a build context of 5 MiB: 20 MiB of JSON."""
    noise = random.Random(28)  # noqa: S311 - what cannot be compressed
    layers = [as_data(archive({f"layer-{number}": noise.randbytes(5 << 20)})) for number in range(2)]
    context = archive({"data": noise.randbytes(5 << 20)})

    request = {
        "containerFile": encoded(f"FROM {upstreams.image()}\nCOPY data /data\n"),
        "buildContext": as_data(context),
        "containerConfig": {"layers": layers},
    }

    answer = await ask(swell, "POST", SUBMIT, request)

    assert answer.status == 200, answer.body[:500]
    assert (await swell.ended(answer.json["buildId"]))["succeeded"]


LARGE: dict[str, dict[str, Any]] = {
    "containerFile": {"containerFile": encoded("#" * (129 << 10))},
    "condaFile": {"condaFile": "A" * 60_000},
    "packages.environment": {"packages": {"type": "CONDA", "environment": "A" * (2 << 20)}},
    "packages.entries": {"packages": {"type": "CONDA", "entries": ["x"] * 10_000}},
    "containerConfig": {"containerImage": "a", "containerConfig": {"env": ["A=" + "x" * (1 << 20)]}},
    "fingerprint": {"containerImage": "a", "fingerprint": "x" * (1 << 20)},
}


@pytest.mark.parametrize("member", LARGE)
async def test_every_member_has_a_limit(swell: Swell, member: str) -> None:
    """Records of requests are stored for months, so no member may be as large as a body."""
    answer = await submit(swell, **LARGE[member])

    assert (answer.status, answer.json["code"]) == (413, "SIZE_INVALID")
    assert member in answer.json["message"]


@pytest.mark.parametrize("member", ["buildContext", "containerConfig"])
async def test_a_layer_that_would_fill_the_disk_is_refused(swell: Swell, upstreams: Upstreams, member: str) -> None:
    """A megabyte of gzip can contain more than a gigabyte of zeros; the size is measured while it is decompressed."""
    header, zeros = archive({"zeros": b""}).tar[:512], gzip.compress(bytes(64 << 20), 9)
    bomb = {"location": "data:" + base64.b64encode(gzip.compress(header) + 17 * zeros).decode()}
    body = (
        {"containerFile": encoded("FROM a\n"), "buildContext": bomb}
        if member == "buildContext"
        else {"containerImage": upstreams.image(), "containerConfig": {"layers": [bomb]}}
    )

    answer = await submit(swell, **body)

    assert (answer.status, answer.json["code"]) == (413, "SIZE_INVALID")
