"""Requests that cannot succeed are refused at once, with a reason and the status that clients expect."""

import asyncio
import base64
import gzip
import json
import sys
import time
from pathlib import Path

import pytest

from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack
from tests.e2e.busybox import REPOSITORY, archive
from tests.e2e.client import Swell, as_link, client_of, until
from tests.e2e.engines import pull
from tests.e2e.environment import of_this_machine
from tests.e2e.raw import SUBMIT, ask
from tests.e2e.upstreams import Upstreams, Web, image_of, running

FILE = base64.b64encode(b"FROM a\n").decode()


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        ({}, "containerImage"),
        ({"containerImage": "a", "containerFile": FILE}, "either containerImage or containerFile"),
        ({"containerImage": "http://a"}, "scheme"),
        ({"containerImage": "a", "containerPlatform": "sparc"}, "sparc"),
        ({"containerFile": "FROM alpine"}, "base64"),
    ],
)
async def test_an_invalid_request_is_refused_with_the_place_of_the_mistake(
    swell: Swell, request_: dict[str, object], word: str
) -> None:
    """The status is 400, the message names the member, and no build is started."""
    status, answer = await swell.post(**request_)

    assert status == 400
    assert word in answer["message"]


async def test_a_missing_image_is_refused_before_a_token_is_issued(swell: Swell, upstreams: Upstreams) -> None:
    """The client that sends the request can fix it; the cluster that would pull the image cannot."""
    image = image_of(upstreams.open, "no-such-tag")

    status, answer = await swell.post(containerImage=image)

    assert status == 400
    assert f"{image} does not exist or cannot be accessed" in answer["message"]


ZEROS = base64.b64encode(gzip.compress(bytes(40 << 20), 9)).decode()
NESTED = base64.b64encode(("[" + ",".join(["[" * 90 + "]" * 90] * 200) + "]").encode()).decode()


@pytest.mark.parametrize(
    "request_",
    [
        {"containerImage": "a", "containerConfig": {"layers": [{"location": f"data:{ZEROS}"}] * 100}},
        {"packages": {"type": "CONDA", "environment": NESTED}},
        {"containerImage": "a", "containerConfig": {"cmd": [""] * 2_000_000}},
    ],
    ids=["layers", "environment", "items"],
)
async def test_a_request_that_takes_long_to_read_does_not_delay_others(
    swell: Swell, request_: dict[str, object]
) -> None:
    """A few kilobytes can take seconds to decode. Other requests are served meanwhile."""
    body = json.dumps(request_).encode()
    asking, longest, started = asyncio.create_task(ask(swell, "POST", SUBMIT, body)), 0.0, time.monotonic()
    while not asking.done():
        sent = time.monotonic()
        assert (await swell.get("/service-info"))[0] == 200
        longest = max(longest, time.monotonic() - sent)

    assert (await asking).status in {400, 413}
    assert longest < (time.monotonic() - started) / 2


async def test_fifty_large_requests_at_once_take_little_memory(
    swell: Swell, stack: Stack, upstreams: Upstreams
) -> None:
    """All are answered. 50 requests of 10 MiB, the former limit, took 1,000 MiB when nothing bounded them."""
    start = json.dumps({"containerImage": upstreams.image(), "ignored": "#"}).encode()
    body = start.replace(b"#", b"x" * ((24 << 20) - len(start) + 1))
    process = Path(f"/proc/{stack.pid('gateway')}")
    (process / "clear_refs").write_text("5")  # the peak is now the present size
    before = peak_of(process)

    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask(swell, "POST", SUBMIT, body)) for _ in range(50)]

    assert {each.result().status for each in asked} == {200}
    assert peak_of(process) - before < 600 << 10


def peak_of(process: Path) -> int:
    """The most memory that a process has had, in KiB."""
    return int((process / "status").read_text().partition("VmHWM:")[2].split()[0])


@pytest.mark.row("L5")
async def test_a_layer_with_a_wrong_digest_is_never_added(
    swell: Swell, upstreams: Upstreams, web: Web, tmp_path: Path
) -> None:
    """The pull fails with a reason: a truncated or different layer is worse than none."""
    declared, served = archive({"said": b"a"}), archive({"found": b"b"})
    layer = as_link(declared, web.add("swapped.tar.gz", served.gzipped))
    answer = await swell.submit(containerImage=upstreams.image(), containerConfig={"layers": [layer]})

    ran = await pull(answer["targetImage"], tmp_path)

    assert ran.status != 0
    assert "gzipDigest" in ran.output


async def test_an_unknown_token_is_a_registry_error(swell: Swell) -> None:
    """Clients print the code and message of a registry's error."""
    status, answer = await swell.get(f"/v2/wt/{26 * 'x'}/{REPOSITORY}/manifests/docker")

    assert status == 404
    assert answer["errors"][0]["code"] == "NAME_UNKNOWN"


@pytest.mark.row("E2")
async def test_an_expired_token_is_an_unknown_token(stack: Stack, upstreams: Upstreams, tmp_path: Path) -> None:
    """A leaked name is worthless after its expiry, even if it is cached in memory."""
    port = Ports.free().gateway
    url = f"http://localhost:{port}"
    settings = {"SWELL_LISTEN": f"127.0.0.1:{port}", "SWELL_SERVER_URL": url, "SWELL_TOKEN_TTL": "PT6S"}
    gateway = Program(
        name="short-lived",
        command=(sys.executable, "-m", "gateway"),
        environment=of_this_machine() | stack.env | settings,
        ready=probes.http(f"{url}/health"),
    )
    async with running(gateway, tmp_path), client_of(url) as swell:
        answer = await swell.submit(containerImage=upstreams.image())
        path = f"/v2/wt/{answer['containerToken']}/{REPOSITORY}/manifests/docker"
        assert json.loads(await swell.bytes(path))

        async def expired() -> dict[str, object] | None:
            status, body = await swell.get(path)
            return body if status == 404 else None

        assert (await until(expired))["errors"]


@pytest.mark.parametrize("kind", ["basic", "bearer"])
async def test_a_private_registry_is_read_with_the_operators_credentials(
    swell: Swell, upstreams: Upstreams, tmp_path: Path, kind: str
) -> None:
    """The registry uses a password, or a token from its realm. Such an image can be a base image as well."""
    image = image_of(getattr(upstreams, kind))
    answer = await swell.submit(containerImage=image, containerConfig={"env": ["FOO=bar"]})

    ran = await pull(answer["targetImage"], tmp_path / "image")

    assert ran.status == 0, ran.output
    built = await swell.build(f"FROM {image}\nENV FOO=bar\n")
    assert (await swell.ended(built["buildId"]))["succeeded"], await swell.log(built["buildId"])


async def test_wrong_credentials_give_an_access_error(swell: Swell, upstreams: Upstreams) -> None:
    """The message names access as the cause and contains no secret."""
    status, answer = await swell.post(containerImage=image_of(upstreams.mistaken))

    assert status == 400
    assert "does not exist or cannot be accessed" in answer["message"]
    assert "wrong" not in answer["message"]
