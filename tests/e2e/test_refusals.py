"""What cannot be had is refused at once, in words, and by the status that clients know."""

import asyncio
import base64
import gzip
import json
import sys
import time
from pathlib import Path

import pytest

from swell_embedded import probes
from swell_embedded.ports import Ports
from swell_embedded.program import Program
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
async def test_a_request_that_makes_no_sense_is_told_what_to_change(
    swell: Swell, request_: dict[str, object], word: str
) -> None:
    """400, with a message that names the place; nothing was started."""
    status, answer = await swell.post(**request_)

    assert status == 400
    assert word in answer["message"]


async def test_an_image_that_does_not_exist_is_refused_before_a_token_is_given(
    swell: Swell, upstreams: Upstreams
) -> None:
    """The one who asked can mend it; the cluster that would pull it cannot."""
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
async def test_nobody_waits_for_somebody_elses_request_to_be_read(swell: Swell, request_: dict[str, object]) -> None:
    """A few kilobytes may take seconds to look through; in between, others are answered as ever."""
    body = json.dumps(request_).encode()
    asking, longest, started = asyncio.create_task(ask(swell, "POST", SUBMIT, body)), 0.0, time.monotonic()
    while not asking.done():
        asked = time.monotonic()
        assert (await swell.get("/service-info"))[0] == 200
        longest = max(longest, time.monotonic() - asked)

    assert (await asking).status in {400, 413}
    assert longest < (time.monotonic() - started) / 2


@pytest.mark.row("L5")
async def test_a_layer_from_the_web_that_is_not_what_it_claims_never_reaches_an_image(
    swell: Swell, upstreams: Upstreams, web: Web, tmp_path: Path
) -> None:
    """The pull says so; half a layer or another one is worse than none."""
    said, found = archive({"said": b"a"}), archive({"found": b"b"})
    layer = as_link(said, web.keep("swapped.tar.gz", found.gzipped))
    answer = await swell.submit(containerImage=upstreams.image(), containerConfig={"layers": [layer]})

    ran = await pull(answer["targetImage"], tmp_path)

    assert ran.status != 0
    assert "gzipDigest" in ran.output


async def test_an_unknown_token_is_not_found_as_registries_say_it(swell: Swell) -> None:
    """Clients print the code and message of a registry's error."""
    status, answer = await swell.get(f"/v2/wt/{26 * 'x'}/{REPOSITORY}/manifests/docker")

    assert status == 404
    assert answer["errors"][0]["code"] == "NAME_UNKNOWN"


@pytest.mark.row("E2")
async def test_an_expired_token_is_an_unknown_token(stack: Stack, upstreams: Upstreams, tmp_path: Path) -> None:
    """A name that has leaked is worth nothing after its time, whatever is kept in memory."""
    port = Ports.free().gateway
    url = f"http://localhost:{port}"
    told = {"SWELL_LISTEN": f"127.0.0.1:{port}", "SWELL_SERVER_URL": url, "SWELL_TOKEN_TTL": "PT6S"}
    gateway = Program(
        name="short-lived",
        command=(sys.executable, "-m", "gateway"),
        environment=of_this_machine() | stack.env | told,
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


@pytest.mark.parametrize("door", ["basic", "bearer"])
async def test_a_private_registry_opens_to_the_operators_credentials(
    swell: Swell, upstreams: Upstreams, tmp_path: Path, door: str
) -> None:
    """By password, or by a token that a realm gives for it; a build may stand upon such an image as well."""
    image = image_of(getattr(upstreams, door))
    answer = await swell.submit(containerImage=image, containerConfig={"env": ["FOO=bar"]})

    ran = await pull(answer["targetImage"], tmp_path / "image")

    assert ran.status == 0, ran.output
    built = await swell.build(f"FROM {image}\nENV FOO=bar\n")
    assert (await swell.ended(built["buildId"]))["succeeded"], await swell.log(built["buildId"])


async def test_wrong_credentials_are_the_registrys_refusal_not_our_fault(swell: Swell, upstreams: Upstreams) -> None:
    """Who asked is told that it is about access, and is shown no secret."""
    status, answer = await swell.post(containerImage=image_of(upstreams.mistaken))

    assert status == 400
    assert "does not exist or cannot be accessed" in answer["message"]
    assert "wrong" not in answer["message"]
