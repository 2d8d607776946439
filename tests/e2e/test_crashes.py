"""Power cuts and kill -9: what was promised is kept, once, and nothing is left lying about."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from swell.jobs import streams
from swell.jobs.messages import BuildDone
from swell.store import redis
from swell.store.builds import RedisBuilds
from swell_embedded.backends import BACKENDS
from swell_embedded.ports import Ports
from swell_embedded.services import SERVICES
from swell_embedded.stack import Stack
from tests.e2e.client import Swell, client_of, log_path, until
from tests.e2e.conftest import OpenStack
from tests.e2e.engines import pull
from tests.e2e.upstreams import Upstreams
from tests.integration.embedded.processes import descendants, gone


@pytest.fixture(scope="module")
async def fragile(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack to be hurt; a job whose builder is gone goes to another after five seconds."""
    async with new_stack(tmp_path_factory.mktemp("fragile"), JOB_LEASE="PT5S") as opened:
        yield opened


@pytest.fixture(scope="module")
async def swell(fragile: Stack) -> AsyncIterator[Swell]:
    async with client_of(fragile.url) as client:
        yield client


async def test_a_build_outlives_its_builder_and_has_one_end(
    fragile: Stack, swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The next builder does it again from the start, and the log says so; nothing of the first attempt goes on."""
    before = await builds_told(fragile)
    answer = await swell.build(f'FROM {upstreams.image()}\nRUN echo "begun $((20 + 1))" && sleep 5\n')
    build_id = answer["buildId"]

    async def begun() -> bool:
        return "begun 21" in await swell.log(build_id)

    await until(begun)
    family = descendants(fragile.pid("builder"))
    assert len(family) > 3
    fragile.kill("builder")
    assert not await gone(family)
    await fragile.restart("builder")

    assert (await swell.ended(build_id))["succeeded"]
    log = await swell.log(build_id)
    assert "attempt 2 begins" in log
    assert log.count("begun 21") == 1
    ran = await pull(answer["targetImage"], tmp_path)
    assert ran.status == 0, ran.output

    assert await builds_told(fragile) == before + 1


async def test_an_image_of_several_platforms_outlives_the_builder_that_waits_for_them(
    fragile: Stack, swell: Swell, upstreams: Upstreams
) -> None:
    """It takes no place from the builds that it waits for: all places are taken when it is asked for. Whoever comes
    next waits on, and there is one end of it."""
    before = await builds_told(fragile)
    busy = [
        (await swell.build(f"FROM {upstreams.image()}\nRUN sleep 1 # {number}\n"))["buildId"]
        for number in range(os.cpu_count() or 1)
    ]
    containerfile = f"FROM {upstreams.image('oci-index')}\nENV A=crash\n"
    build_id = (await swell.build(containerfile, containerPlatform="linux/amd64,linux/arm64"))["buildId"]

    async def waits() -> bool:
        return "linux/amd64: bd-" in await swell.log(build_id)

    await until(waits)
    fragile.kill("builder")
    await fragile.restart("builder")

    assert (await swell.ended(build_id))["succeeded"], await swell.log(build_id)
    assert all([(await swell.ended(each))["succeeded"] for each in busy])
    record = (await swell.get(f"/v1alpha1/builds/{build_id}"))[1]
    assert record["digest"].startswith("sha256:")
    assert len(record["buildChildIds"]["refs"]) == 2
    assert await builds_told(fragile) == before + len(busy) + 3


async def test_a_build_that_was_stored_and_not_published_is_published_by_whoever_comes_next(
    fragile: Stack, swell: Swell, upstreams: Upstreams
) -> None:
    """The gateway dies between two steps: the queue, halted meanwhile, never hears of the build."""
    fragile.kill("nats", signal.SIGSTOP)
    submitting = asyncio.create_task(swell.build(f"FROM {upstreams.image()}\nRUN echo orphaned\n"))
    async with redis.connect(fragile.env["SWELL_REDIS_URL"]) as connection:
        builds = RedisBuilds(connection)

        async def stored() -> list[str]:
            return await builds.unpublished(timedelta(0))

        (build_id,) = await until(stored)
    fragile.kill("gateway")
    with pytest.raises(aiohttp.ClientError):
        await submitting
    fragile.kill("nats")  # along with what it was sent and had not read
    await fragile.restart("nats")
    await fragile.restart("gateway")

    assert (await swell.ended(build_id))["succeeded"]


async def test_after_a_power_cut_everything_is_known_as_before(
    new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """All processes die at once; a second start in the same home needs no hand."""
    home, ports = tmp_path / "home", Ports.free()
    async with new_stack(home, ports) as stack, client_of(stack.url) as swell:
        answer = await swell.build(f"FROM {upstreams.image()}\nRUN echo lasting > /lasting.txt\n")
        await swell.ended(answer["buildId"])
        log = await swell.bytes(log_path(answer["buildId"]))
        for name in (*BACKENDS, *(service.name for service in SERVICES)):
            stack.kill(name)

    async with new_stack(home, ports) as stack, client_of(stack.url) as swell:
        assert (await swell.build_status(answer["buildId"]))["succeeded"]
        ran = await pull(answer["targetImage"], tmp_path / "image")
        assert ran.status == 0, ran.output

        async def log_is_kept() -> bool:
            return await swell.read(log_path(answer["buildId"])) == (200, log)

        await until(log_is_kept)  # the store says that it is ready some moments before it finds its objects


async def builds_told(stack: Stack) -> int:
    """How many ends of builds were told to everybody, once no job is waiting or under way any more."""
    async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as nats:

        async def no_jobs() -> bool:
            return (await nats.stream.stream_info("JOBS")).state.messages == 0

        await until(no_jobs)
        told = await nats.stream.stream_info("EVENTS", subjects_filter=BuildDone.subject)
        return (told.state.subjects or {}).get(BuildDone.subject, 0)


@pytest.mark.full
async def test_whatever_crashes_is_started_again_and_requests_work_without_a_hand(
    new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """`make up` with kill -9 of each child in turn: within seconds a build runs from its request to its end again."""
    async with new_stack(tmp_path, JOB_LEASE="PT5S") as stack, client_of(stack.url) as swell:
        supervising = asyncio.create_task(stack.supervise())
        try:
            for number, name in enumerate([*BACKENDS, *(service.name for service in SERVICES)]):
                killed = stack.pid(name)
                family = descendants(killed)
                stack.kill(name)

                async def works(number: int = number, killed: int = killed, name: str = name) -> bool:
                    """A build that nobody asked for before, asked for until it succeeds."""
                    try:
                        if stack.pid(name) == killed:
                            return False
                        answer = await swell.build(f"FROM {upstreams.image()}\nENV N={number}\n")
                        async with asyncio.timeout(20):
                            return bool((await swell.ended(answer["buildId"]))["succeeded"])
                    except (AssertionError, KeyError, TimeoutError, aiohttp.ClientError):
                        return False

                await until(works, seconds=60)
                assert not await gone(family)
                assert not supervising.done()
        finally:
            supervising.cancel()
            await asyncio.wait([supervising])
