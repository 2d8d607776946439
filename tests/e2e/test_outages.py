"""Backends that go away for half a minute, and builders that die whenever they like: what was promised is kept."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from swell.jobs import streams
from swell.jobs.messages import BuildDone
from swell_embedded.stack import Stack
from tests.e2e.client import Fields, Swell, client_of, encoded, until
from tests.e2e.conftest import OpenStack
from tests.e2e.engines import pull
from tests.e2e.upstreams import Upstreams

GONE = 30.0  # seconds; as long as the house says that an outage may last
DEATHS = 20
BACKENDS = ("nats", "redis", "s3", "registry")


@pytest.fixture(scope="module")
async def fragile(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack to be hurt; a job whose builder is gone goes to another after two seconds."""
    async with new_stack(tmp_path_factory.mktemp("outages"), JOB_LEASE="PT2S") as opened:
        yield opened


@pytest.fixture(scope="module")
async def swell(fragile: Stack) -> AsyncIterator[Swell]:
    async with client_of(fragile.url) as client:
        yield client


async def ended(swell: Swell, build_id: str) -> Fields:
    """The record of a build when it has ended, at most two minutes from now; refusals meanwhile do not count."""

    async def look() -> Fields | None:
        try:
            status, record = await swell.get(f"/v1alpha1/builds/{build_id}")
        except (aiohttp.ClientError, TimeoutError):
            return None
        return record if status == 200 and "exitStatus" in record else None

    return await until(look, seconds=120)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_build_under_way_outlives_an_outage(
    backend: str, fragile: Stack, swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """It waits, or fails for the reason that there was; what was pulled before is pulled meanwhile; then all is well.

    Its log has what its steps said. Who asks for a build meanwhile is told to come again, or is served: no answer is
    our fault.
    """
    served = await swell.submit(containerImage=upstreams.image(), containerConfig={"env": [f"GONE={backend}"]})
    assert (await pull(served["targetImage"], tmp_path / "before")).status == 0
    answer = await swell.build(f"FROM {upstreams.image()}\nRUN echo {backend} && sleep 5\n")

    async def begun() -> bool:
        return f"\n{backend}\n" in await swell.log(answer["buildId"])

    await until(begun)
    fragile.kill(backend)
    gone_until = asyncio.get_running_loop().time() + GONE

    status, refusal = await swell.post(containerImage=upstreams.image(), containerConfig={"env": ["A=meanwhile"]})
    assert status in {200, 503}, refusal
    if backend == "registry":
        assert await refused(swell, f"FROM {upstreams.image()}\nRUN echo meanwhile\n")
    assert await manifest(fragile, served["targetImage"]) == 200
    await asyncio.sleep(gone_until - asyncio.get_running_loop().time())
    await fragile.restart(backend)

    record = await ended(swell, answer["buildId"])
    if record["exitStatus"] == 0:
        assert (await pull(answer["targetImage"], tmp_path / "after")).status == 0
    else:
        assert backend == "registry", record
        assert "The registry did not take the image" in await swell.log(answer["buildId"])
    assert f"\n{backend}\n" in await swell.log(answer["buildId"])
    again = await swell.build(f"FROM {upstreams.image()}\nRUN echo after {backend}\n")
    assert (await ended(swell, again["buildId"]))["exitStatus"] == 0


@pytest.mark.timeout(600)
async def test_a_builder_that_dies_twenty_times_ends_every_build_once(
    fragile: Stack, swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """At moments that chance chooses, under load. A build may end as failed only for having lost too many builders."""
    chance, told = random.Random(20), await ends(fragile)  # noqa: S311
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
    assert await ends(fragile) == told + len(answers)


async def refused(swell: Swell, containerfile: str) -> bool:
    """Whether a build is refused because of a backend of ours that is away, and its client told when to come again."""
    request = {"containerFile": encoded(containerfile)}
    async with aiohttp.request("POST", f"{swell.url}/v1alpha2/container", json=request) as response:
        refusal = await response.json()
        is_ours = (response.status, refusal["side"]) == (503, "server") and "does not answer" in refusal["message"]
        return is_ours and int(response.headers["Retry-After"]) > 0


async def manifest(stack: Stack, image: str) -> int:
    """The status that answers a pull's first question for *image*."""
    authority, _, path = image.partition("/")
    name, _, tag = path.rpartition(":")
    url = f"http://{authority}/v2/{name}/manifests/{tag}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status


async def ends(stack: Stack) -> int:
    """How many ends of builds were told, once no job is waiting or under way any more."""
    async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as nats:

        async def no_jobs() -> bool:
            return (await nats.stream.stream_info("JOBS")).state.messages == 0

        await until(no_jobs, seconds=120)
        told = await nats.stream.stream_info("EVENTS", subjects_filter=BuildDone.subject)
        return (told.state.subjects or {}).get(BuildDone.subject, 0)
