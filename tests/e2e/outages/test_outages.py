"""Backends are unavailable for 30 seconds and builders crash at random: no accepted build is lost."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from swell.errors import Unavailable
from swell.jobs import streams
from swell.jobs.messages import BuildDone
from swell.store import s3_objects
from swell.store.logs import log_key
from swell_embedded.stack import Stack
from tests.e2e.client import Fields, Swell, client_of, encoded, until
from tests.e2e.engines import pull
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams
from tests.integration.outages import lose_data, stalled
from tests.stores import LAYERS, LOGS, s3_of

GONE = 30.0  # seconds; the longest outage that Swell must survive
DEATHS = 20
BACKENDS = ("nats", "redis", "s3", "registry")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outages")


@pytest.fixture(scope="module")
async def fragile(new_stack: OpenStack, home: Path) -> AsyncIterator[Stack]:
    """A stack whose processes tests kill. A job whose builder died goes to another builder after two seconds."""
    async with new_stack(home, JOB_LEASE="PT2S") as opened:
        yield opened


@pytest.fixture(scope="module")
async def swell(fragile: Stack) -> AsyncIterator[Swell]:
    async with client_of(fragile.url) as client:
        yield client


async def ended(swell: Swell, build_id: str) -> Fields:
    """Wait for the end of a build, at most two minutes, and return its record. Errors meanwhile are ignored."""

    async def look() -> Fields | None:
        try:
            status, record = await swell.get(f"/v1alpha1/builds/{build_id}")
        except (aiohttp.ClientError, TimeoutError):
            return None
        return record if status == 200 and "exitStatus" in record else None

    return await until(look, seconds=120)


@pytest.mark.row("T11")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_running_build_survives_an_outage(
    backend: str, fragile: Stack, swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The build waits, and so does a pull of it. Cached images can be pulled meanwhile, and all works afterwards.

    The log is complete. New requests for builds are served or get 503 with Retry-After, never another server error.
    """
    served = await swell.submit(containerImage=upstreams.image(), containerConfig={"env": [f"GONE={backend}"]})
    assert (await pull(served["targetImage"], tmp_path / "before")).status == 0
    answer = await swell.build(f"FROM {upstreams.image()}\nRUN echo {backend} $((20 + 1)) && sleep 5\n")
    output = f"{backend} 21"  # the container file, which the log repeats, does not contain it

    async def begun() -> bool:
        return output in await swell.log(answer["buildId"])

    await until(begun)
    waiting = asyncio.create_task(manifest(fragile, answer["targetImage"]))
    await asyncio.sleep(0)
    fragile.kill(backend)
    gone_until = asyncio.get_running_loop().time() + GONE

    status, refusal = await swell.post(containerImage=upstreams.image(), containerConfig={"env": ["A=meanwhile"]})
    assert status in {200, 503}, refusal
    if backend == "registry":
        assert await refused(swell, f"FROM {upstreams.image()}\nRUN echo meanwhile\n")
    assert await manifest(fragile, served["targetImage"]) == 200
    await asyncio.sleep(gone_until - asyncio.get_running_loop().time())
    await fragile.restart(backend)

    assert (await ended(swell, answer["buildId"]))["exitStatus"] == 0
    assert await waiting == 200
    assert (await pull(answer["targetImage"], tmp_path / "after")).status == 0
    assert output in await swell.log(answer["buildId"])
    again = await swell.build(f"FROM {upstreams.image()}\nRUN echo after {backend}\n")
    assert (await ended(swell, again["buildId"]))["exitStatus"] == 0


async def test_a_finished_image_is_pushed_by_another_builder_when_the_registry_is_back(
    fragile: Stack, swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The push is repeated. When the builder is killed meanwhile, the next one pushes without building again."""
    async with s3_objects.connect(s3_of(fragile.env), LAYERS) as stored:
        of_others = await unpushed_manifests(stored)
    answer = await swell.build(f"FROM {upstreams.image()}\nRUN echo kept $((20 + 1)) && sleep 1\n")
    build_id = answer["buildId"]

    async def says(text: str) -> bool:
        return text in await swell.log(build_id)

    async with without(fragile, "registry"):  # before the build can push: it begins with the step
        await until(partial(says, "kept 21"), seconds=120)
        await until(partial(says, "The push is repeated"), seconds=120)
        async with s3_objects.connect(s3_of(fragile.env), LAYERS) as stored:

            async def is_stored() -> bool:
                return bool(await unpushed_manifests(stored) - of_others)

            await until(is_stored, seconds=120)
        fragile.kill("builder")
        await fragile.restart("builder")
        await until(partial(says, "the image is built already"), seconds=120)

    assert (await ended(swell, build_id))["exitStatus"] == 0
    assert (await swell.log(build_id)).count("kept 21") == 0  # the log is that of the attempt that pushed
    assert (await pull(answer["targetImage"], tmp_path)).status == 0


@asynccontextmanager
async def without(stack: Stack, backend: str) -> AsyncIterator[None]:
    """Kill *backend* for the time of the block; other tests have it again, even if the block fails."""
    stack.kill(backend)
    try:
        yield
    finally:
        await stack.restart(backend)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["buildkit", "buildah"])
async def test_an_image_that_was_never_pushed_is_pushed_by_the_next_build(
    engine: str, new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The build fails with `push` at the end of its time. The same request again pushes without building."""
    async with (
        new_stack(tmp_path / "home", BUILD_TIMEOUT="PT20S", ENGINE=engine) as stack,
        client_of(stack.url) as swell,
    ):
        containerfile = f"FROM {upstreams.image()}\nRUN echo late $((20 + 1)) && sleep 2\n"
        failed = (await swell.build(containerfile))["buildId"]

        async def begun() -> bool:
            return "late 21" in await swell.log(failed)

        await until(begun)
        stack.kill("registry")
        assert (await ended(swell, failed))["reason"] == "push"
        await stack.restart("registry")

        again = await swell.build(containerfile)
        assert again["buildId"] != failed
        assert (await ended(swell, again["buildId"]))["exitStatus"] == 0
        log = await swell.log(again["buildId"])
        assert "the image is built already" in log
        assert "late 21" not in log
        assert (await pull(again["targetImage"], tmp_path / "image")).status == 0


async def unpushed_manifests(stored: s3_objects.S3Objects) -> set[str]:
    """Return the names of the manifests that were stored of unpushed images; those of pushed images are empty."""
    client, bucket = stored._client, stored.bucket
    found = await asyncio.to_thread(lambda: list(client.list_objects(bucket, "unpushed/", recursive=True)))
    return {str(each.object_name) for each in found if str(each.object_name).endswith("/manifest")}


async def test_a_build_ends_while_its_log_cannot_be_stored(fragile: Stack, swell: Swell, upstreams: Upstreams) -> None:
    """The result does not wait for S3; the log is read from NATS meanwhile, and stored when S3 is back."""
    answer = await swell.build(f"FROM {upstreams.image()}\nRUN echo no log $((20 + 1)) && sleep 2\n")

    async def begun() -> bool:
        return "no log 21" in await swell.log(answer["buildId"])

    await until(begun)
    fragile.kill("s3")
    assert (await ended(swell, answer["buildId"]))["exitStatus"] == 0
    assert "no log 21" in await swell.log(answer["buildId"])
    await fragile.restart("s3")

    async with s3_objects.connect(s3_of(fragile.env), LOGS) as stored:

        async def content() -> bytes | None:
            with suppress(Unavailable):
                return await stored.get(log_key(answer["buildId"]))
            return None

        assert b"no log 21" in await until(content)


async def test_waiting_builds_are_built_although_nats_lost_its_data(
    fragile: Stack, home: Path, swell: Swell, upstreams: Upstreams
) -> None:
    """Their jobs are published again in new streams, each build ends once, and the gateway is ready again."""
    await ends(fragile)  # a build of an earlier test would end in the new streams
    answers = [await swell.build(f"FROM {upstreams.image()}\nRUN sleep 1 # {number} lost\n") for number in range(5)]
    await lose_data(fragile, home, "nats")

    for answer in answers:
        assert (await ended(swell, answer["buildId"]))["exitStatus"] == 0
    assert await ends(fragile) <= len(answers)  # those that ended before the loss are lost with the stream
    assert (await swell.get("/health"))[1]["status"] == "UP"


async def test_a_request_during_a_stall_of_nats_is_answered_and_built_once(
    fragile: Stack, swell: Swell, upstreams: Upstreams
) -> None:
    """The answer and the effect agree: 200, one build. Meanwhile, the gateway is degraded, and says what waits."""
    before = await ends(fragile)
    async with stalled(fragile, "nats"):
        answer = await swell.build(f"FROM {upstreams.image()}\nENV A=stalled\n")
        status, health = await swell.get("/health")
    assert (status, health["degraded"]) == (200, True)
    assert "cached pulls" in health["works"]
    assert "message queue" in health["fails"]["builds"]

    assert (await ended(swell, answer["buildId"]))["exitStatus"] == 0
    assert await ends(fragile) == before + 1


@pytest.mark.timeout(600)
async def test_every_build_ends_once_despite_twenty_builder_crashes(
    fragile: Stack, swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The crashes happen at random times under load. A build may fail only because it lost too many builders."""
    chance, ends_before = random.Random(20), await ends(fragile)  # noqa: S311
    answers: list[Fields] = []

    async def load() -> None:
        for number in range(12):
            script = f"echo {number} && sleep 0.{number % 5}"
            answers.append(await swell.build(f"FROM {upstreams.image()}\nRUN {script}\n"))
            await asyncio.sleep(chance.uniform(0.5, 2))

    loading = asyncio.create_task(load())
    for _ in range(DEATHS):
        await asyncio.sleep(chance.uniform(0.1, 1.5))
        fragile.kill("builder")
        await fragile.restart("builder")
    await loading

    for answer in answers:
        record = await ended(swell, answer["buildId"])
        if record["exitStatus"] != 0:
            assert "has stopped 5 times" in await swell.log(answer["buildId"])
            continue
        ran = await pull(answer["targetImage"], tmp_path / answer["buildId"])
        assert ran.status == 0, ran.output
    assert await ends(fragile) == ends_before + len(answers)


async def refused(swell: Swell, containerfile: str) -> bool:
    """Return whether a build is refused because a backend is unavailable, with a Retry-After."""
    request = {"containerFile": encoded(containerfile)}
    async with aiohttp.request("POST", f"{swell.url}/v1alpha2/container", json=request) as response:
        refusal = await response.json()
        is_ours = (response.status, refusal["side"]) == (503, "server") and "is unavailable" in refusal["message"]
        return is_ours and int(response.headers["Retry-After"]) > 0


async def manifest(stack: Stack, image: str) -> int:
    """Return the status of a manifest request for *image*."""
    return await manifest_at(stack.url, image)


async def manifest_at(url: str, image: str) -> int:
    """Return the status of a manifest request for *image* to the gateway at *url*."""
    _, _, path = image.partition("/")
    name, _, tag = path.rpartition(":")
    async with aiohttp.ClientSession() as session, session.get(f"{url}/v2/{name}/manifests/{tag}") as response:
        return response.status


async def ends(stack: Stack) -> int:
    """Return how many BuildDone events were published, once no job is queued or in progress."""
    async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as nats:

        async def no_jobs() -> bool:
            return (await nats.stream.stream_info("JOBS")).state.messages == 0

        await until(no_jobs, seconds=120)
        info = await nats.stream.stream_info("EVENTS", subjects_filter=BuildDone.subject)
        return (info.state.subjects or {}).get(BuildDone.subject, 0)
