"""The API as its clients count on it: Wave's golden examples, and the clients' checklist.

A name ends in the rows that it stands for, of the examples (`e1`) or of the checklist (`t1` transport, `b1` bodies,
`r1` answers, `s1` status, `i1` the rest). Mirrors, scans, SIF files, pages and pairing are not served yet and have no
tests here; nor have limits (test_limits), inspect (test_inspect) and layers (test_refusals), which have theirs.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from swell_embedded.stack import Stack
from tests.e2e.client import Swell, encoded
from tests.e2e.raw import LOGIN, SUBMIT, ask, operated_beside, submit
from tests.e2e.upstreams import Upstreams

CHALLENGE = "Basic realm=Wave Authentication"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3,9})?Z")
NO_CONFIG = dict.fromkeys(("entrypoint", "cmd", "env", "workingDir", "layers"))


@pytest.fixture(scope="module")
async def operated(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    async with operated_beside(stack, tmp_path_factory.mktemp("operated")) as client:
        yield client


# --- Wave's golden examples


async def test_a_plain_image_is_named_with_its_token_e1_r1_r2(swell: Swell, upstreams: Upstreams) -> None:
    image = upstreams.image()
    answer = (
        await submit(
            swell,
            containerImage=image,
            containerConfig={"env": ["STAGE=qa"]},
            timestamp="2026-03-01T10:30:00+01:00",
        )
    ).json

    token = answer["requestId"]
    assert INSTANT.fullmatch(answer.pop("expiration"))
    authority = swell.url.removeprefix("http://")
    assert answer == {
        "requestId": token,
        "containerToken": token,
        "targetImage": f"{authority}/wt/{token}/{image.partition('/')[2]}",
        "containerImage": image,
        "freeze": False,
        "mirror": False,
        "succeeded": True,
    }


async def test_the_first_version_answers_with_less_e2_e5(swell: Swell, upstreams: Upstreams) -> None:
    plain = await ask(swell, "POST", "/container-token", {"containerImage": upstreams.image()})
    build = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV FIRST=version\n")}
    new = (await ask(swell, "POST", "/container-token", build)).json
    await swell.ended(new["buildId"])
    again = (await ask(swell, "POST", "/container-token", build)).json

    members = {"requestId", "containerToken", "targetImage", "expiration", "containerImage"}
    assert plain.json.keys() == again.keys() == members
    assert new.keys() == members | {"buildId"}


async def test_a_build_is_new_and_then_cached_e3_e4_e8_e11_e15_r3_r4_r12_s17(
    swell: Swell, upstreams: Upstreams
) -> None:
    """A dry run has told its name before."""
    build = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV GOLDEN=yes\n")}
    dry = (await submit(swell, **build, dryRun=True)).json
    new = (await submit(swell, **build)).json
    ended = await swell.ended(new["buildId"])
    again = (await submit(swell, **build)).json
    record = (await ask(swell, "GET", f"/v1alpha1/builds/{new['buildId']}")).json
    status = (await ask(swell, "GET", f"{SUBMIT}/{new['requestId']}/status")).json

    assert dry["containerImage"] == new["containerImage"] == again["containerImage"]
    assert (dry["cached"], new["cached"], again["cached"]) == (False, False, True)
    assert ("succeeded" in new, again["succeeded"], again["buildId"]) == (False, True, new["buildId"])
    assert re.fullmatch(r"bd-[0-9a-f]{16}_1", new["buildId"])
    assert (ended["status"], ended["succeeded"], type(ended["duration"])) == ("COMPLETED", True, float)
    assert (record["targetImage"], record["exitStatus"], record["format"]) == (new["containerImage"], 0, "DOCKER")
    assert (status["status"], status["succeeded"], status["buildId"]) == ("DONE", True, new["buildId"])


async def test_a_request_can_be_looked_up_in_both_forms_e13(swell: Swell, upstreams: Upstreams) -> None:
    asked = {"containerImage": upstreams.image(), "containerConfig": {"env": ["STAGE=qa"]}}
    token = (await submit(swell, **asked, timestamp="2026-03-01T10:30:00+01:00")).json["requestId"]

    record = (await ask(swell, "GET", f"{SUBMIT}/{token}")).json
    described = (await ask(swell, "GET", f"/container-token/{token}")).json

    assert record.items() >= (asked | {"id": token, "platform": "linux/amd64", "mirror": False}).items()
    assert (record["timestamp"], record["zoneId"]) == ("2026-03-01T09:30:00Z", "+01:00")
    assert described["request"].items() >= asked.items()
    assert (described["token"], described["build"]) == (token, {})
    for path in (f"{SUBMIT}/ffffffffffff", "/container-token/ffffffffffff", f"{SUBMIT}/ffffffffffff/status"):
        assert (await ask(swell, "GET", path)).status == 404


async def test_an_operator_takes_a_token_away_e14(operated: Swell, upstreams: Upstreams) -> None:
    path = f"/container-token/{(await submit(operated, containerImage=upstreams.image())).json['requestId']}"

    stranger = await ask(operated, "DELETE", path)
    statuses = [(await ask(operated, "DELETE", path, **LOGIN)).status for _ in range(2)]

    assert (stranger.status, stranger.body, stranger.headers["WWW-Authenticate"]) == (401, b"", CHALLENGE)
    assert statuses == [200, 404]


async def test_the_service_tells_its_level_e20_i6(swell: Swell) -> None:
    told = (await ask(swell, "GET", "/service-info")).json["serviceInfo"]

    assert told["version"] == "1.37.0"
    assert told["commitId"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1alpha2/metrics/builds", 200),
        ("/v1alpha2/metrics/builds?date=2026-03-01", 200),
        ("/v1alpha3/metrics/pulls?arch=x86_64&org=acme.org", 200),
        ("/v1alpha3/metrics/scans?org=none.io", 200),
        ("/v1alpha3/metrics/mirrors", 200),
        ("/v1alpha2/metrics/pulls?date=2026-3-1", 400),
        ("/v1alpha3/metrics/pulls?arch=riscv", 400),
    ],
)
async def test_metrics_are_for_those_with_an_account_e21(operated: Swell, path: str, status: int) -> None:
    answer = await ask(operated, "GET", path, **LOGIN)
    stranger = await ask(operated, "GET", path.partition("?")[0])

    assert answer.status == status
    assert ("metric" if status == 200 else "message") in answer.json
    assert (stranger.status, stranger.body, stranger.headers["WWW-Authenticate"]) == (401, b"", CHALLENGE)


FILE = encoded("FROM a\n")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"containerImage": "a", "containerFile": FILE},
        {"containerFile": FILE, "packages": {"type": "CONDA"}},
        {"condaFile": "YQ=="},
        {"containerImage": "a", "freeze": True},
        {"containerImage": "http://a"},
        {"containerFile": FILE, "format": "sif"},
        {"packages": {"type": "CONDA", "entries": ["jq"]}, "buildTemplate": "conda/what:v1"},
        {"containerImage": "a", "containerPlatform": "linux/amd64,linux/arm64"},
        {"containerImage": "a", "containerPlatform": "sparc"},
        {"containerFile": "FROM alpine"},
        {"packages": {"type": "conda"}},
        {"packages": {"type": "CONDA", "entries": ["pip::numpy"]}},
        {"packages": {"type": "CONDA", "entries": ["https://a.test/x.yml", "jq"]}},
        {"containerImage": f"a@sha256:{64 * '0'}", "containerConfig": {"env": ["A=1"]}},
        {"containerImage": "a", "containerPlatform": "linux/ppc64le"},
        {"mirror": True, "containerImage": "a", "containerConfig": {"env": ["A=1"]}, "buildRepository": "r.test/a"},
    ],
    ids=str,
)
async def test_what_does_not_go_together_is_refused_in_words_e22_e25_e28_t6_b7(
    swell: Swell, body: dict[str, Any]
) -> None:
    """Also `b17`, `b18`, `b24`, `b29`, `b33` to `b36`: whose turn it is, what to do, and ids for the logs."""
    answer = await submit(swell, **body)

    assert answer.status == 400, answer.body
    told = answer.json
    assert told["message"]
    assert (told["side"], bool(told["next"])) == ("client", True)
    assert told["requestId"] == answer.headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{32}", told["traceId"])


@pytest.mark.parametrize("member", ["packages", "nameStrategy", "mirror"])
async def test_the_first_version_knows_nothing_of_the_second_e22(swell: Swell, member: str) -> None:
    value = {"packages": {"type": "CONDA", "entries": ["jq"]}, "nameStrategy": "none", "mirror": True}[member]

    answer = await ask(swell, "POST", "/container-token", {"containerImage": "a", member: value})

    assert answer.status == 400


async def test_what_is_switched_off_is_501_e26(swell: Swell, upstreams: Upstreams) -> None:
    answer = await submit(swell, containerImage=upstreams.image(), scanMode="async")

    assert (answer.status, answer.json["code"]) == (501, "UNSUPPORTED")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [("GET", "/nope", 404, ""), ("PUT", "/service-info", 405, "GET"), ("GET", "/container-token", 405, "POST")],
)
async def test_what_is_not_there_is_told_in_json_e29_t12(
    swell: Swell, method: str, path: str, status: int, allow: str
) -> None:
    answer = await ask(swell, method, path)

    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
    assert answer.json["message"]
    assert allow in answer.headers.get("Allow", "")


# --- the checklist


TOLERATED: dict[str, dict[str, Any]] = {
    "b1 keys absent": {},
    "b2 keys null": {"packages": None, "scanMode": None, "format": None, "towerAccessToken": None, "scanLevels": None},
    "b3 an empty config": {"containerConfig": NO_CONFIG},
    "b4 no layers and a command": {"containerConfig": {"layers": [], "cmd": ["true"]}},
    "b5 null layers and a variable": {"containerConfig": {"layers": None, "env": ["A=1"]}},
    "b8 nanoseconds": {"timestamp": "2026-11-23T12:59:39.823251298Z"},
    "b8 half hours": {"timestamp": "2026-11-23T12:59:39+05:30"},
    "b8 without seconds": {"timestamp": "2026-11-23T12:59Z"},
    "b8 null": {"timestamp": None},
    "b9 unknown keys": {"what": {"is": ["this"]}},
    "b11 a large workspace": {"towerWorkspaceId": 12345678901},
    "b20 compression": {"buildCompression": {"mode": "gzip", "level": None, "force": None}},
    "b21 levels without a mode": {"scanLevels": ["LOW"], "scanMode": None},
    "b22 amd64": {"containerPlatform": "amd64"},
    "b22 x86_64": {"containerPlatform": "linux/x86_64"},
    "b22 arm64": {"containerPlatform": "arm64"},
    "b25 no platform": {"containerPlatform": None},
    "l12 an empty value": {"containerConfig": {"env": ["A="]}},
    "t15 an empty token": {"towerAccessToken": ""},
    "t16 an endpoint alone": {"towerEndpoint": "https://platform.example.org/api"},
}


@pytest.mark.parametrize("name", TOLERATED)
async def test_bodies_are_taken_as_clients_write_them(swell: Swell, upstreams: Upstreams, name: str) -> None:
    answer = await submit(swell, containerImage=upstreams.image("docker-list"), **TOLERATED[name])

    assert (answer.status, answer.json.get("succeeded")) == (200, True), answer.body


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
    "b16 an environment": (
        {"type": "CONDA", "environment": encoded("channels: [a]\ndependencies: [b]\n"), "channels": ["a", "c"]},
        "micromamba",
    ),
    "b19 cran without channels": ({"type": "CRAN", "entries": ["dplyr"]}, "rocker/r-ver"),
    "b32 the clients' own micromamba": (CONDA | {"condaOpts": MAMBA_1}, "mambaorg/micromamba:2-amazon2023"),
    "b33 of pip": ({"type": "CONDA", "entries": ["python", "pip:numpy"]}, "micromamba"),
}


@pytest.mark.parametrize("name", TOLERATED_PACKAGES)
async def test_packages_are_taken_as_clients_write_them(swell: Swell, name: str) -> None:
    """A dry run shows the container file that they become."""
    packages, word = TOLERATED_PACKAGES[name]

    answer = await submit(swell, packages=packages, dryRun=True)

    assert answer.status == 200, answer.body
    assert word in answer.json["containerFile"]


@pytest.mark.parametrize("together", ["linux/amd64,linux/arm64", "linux/amd64, linux/arm64"])
async def test_a_build_for_two_platforms_is_one_build_b23(swell: Swell, together: str) -> None:
    answer = await submit(swell, packages=CONDA, containerPlatform=together)

    assert answer.status == 200, answer.body
    assert answer.json["buildId"].startswith("bd-")


async def test_one_connection_takes_many_requests_t5(swell: Swell) -> None:
    """With bodies that are refused, too."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for _ in range(3):
            async with session.post(swell.url + SUBMIT, data=b"{") as refused:
                assert refused.status == 400
            async with session.get(f"{swell.url}/service-info") as told:
                assert told.status == 200


async def test_who_asks_again_or_at_the_same_time_shares_the_build_t8_t9_r14_s2(
    swell: Swell, upstreams: Upstreams
) -> None:
    """A client that got no answer may send the same again."""
    build = {"containerFile": encoded(f"FROM {upstreams.image()}\nRUN sleep 1\n")}

    answers = [each.json for each in await asyncio.gather(*(submit(swell, **build) for _ in range(10)))]
    status = (await ask(swell, "GET", f"{SUBMIT}/{answers[0]['requestId']}/status")).json

    assert len({each["buildId"] for each in answers}) == 1
    assert len({each["requestId"] for each in answers}) == 10
    assert (status["status"], "succeeded" in status) == ("BUILDING", False)


async def test_escapes_and_raw_text_are_the_same_b10_b30(swell: Swell, upstreams: Upstreams) -> None:
    """So is any order of keys: the same inputs are one build."""
    body = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV A=é\n"), "buildRepository": None, "format": None}

    sent = [body, dict(reversed(body.items()))]
    ids = {
        (await ask(swell, "POST", SUBMIT, json.dumps(each, ensure_ascii=at == 0).encode())).json["buildId"]
        for at, each in enumerate(sent)
    }

    assert len(ids) == 1


async def test_a_body_of_many_megabytes_gets_a_clear_answer_b28(swell: Swell) -> None:
    answer = await submit(swell, containerImage="a", fingerprint="x" * (21 << 20))

    assert (answer.status, answer.json["code"]) == (413, "SIZE_INVALID")


async def test_headers_that_are_not_ours_do_no_harm_t4_t14(swell: Swell, upstreams: Upstreams) -> None:
    trace = "00-4cf944a72edf4153876b47c32d10e65f-180dae8a6c6f4b7b-01"
    body = {"containerImage": upstreams.image()}

    accepted = await ask(swell, "POST", SUBMIT, body, Authorization="Bearer x", Traceparent=trace)
    refused = await ask(swell, "POST", SUBMIT, {}, Traceparent=trace)

    assert accepted.status == 200
    assert refused.json["traceId"] == trace.split("-")[1]
    assert (await ask(swell, "GET", "/service-info")).status == 200


async def test_an_image_is_done_at_once_s1_s5_s6_s14(swell: Swell, upstreams: Upstreams) -> None:
    token = (await submit(swell, containerImage=upstreams.image())).json["requestId"]

    status = (await ask(swell, "GET", f"{SUBMIT}/{token}/status")).json

    assert (status["status"], status["succeeded"]) == ("DONE", True)
    assert INSTANT.fullmatch(status["creationTime"])


async def test_durations_are_numbers_with_a_point_s7_s8_s9(swell: Swell, upstreams: Upstreams) -> None:
    """Of a build that fails, too, whose status tells why and where to read on."""
    new = await swell.build(f"FROM {upstreams.image()}\nRUN exit 3\n")
    await swell.ended(new["buildId"])

    status = await ask(swell, "GET", f"{SUBMIT}/{new['requestId']}/status")

    assert re.search(rb'"duration":\d+\.\d+[,}]', status.body)
    told = status.json
    assert (told["status"], told["succeeded"], bool(told["reason"])) == ("DONE", False, True)
    assert told["detailsUri"].startswith(f"{swell.url}/")
