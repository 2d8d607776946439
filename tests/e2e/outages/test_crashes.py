"""After power cuts and SIGKILL, every build has exactly one result, and no process or file is left behind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from swell.jobs import streams
from swell.jobs.messages import BuildDone
from swell.store.builds import RedisBuilds
from swell.store.connections import redis
from swell_client import SwellClientError, Unreachable
from swell_embedded.backends import BACKENDS
from swell_embedded.ports import Ports
from swell_embedded.services import SERVICES
from swell_embedded.stack import Stack
from tests.e2e.client import Swell, client_of, log_path, until
from tests.e2e.engines import pull
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams
from tests.integration.embedded.processes import descendants, gone


@pytest.fixture(scope="module")
async def fragile(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack whose processes tests kill. A job whose builder died goes to another builder after five seconds."""
    async with new_stack(tmp_path_factory.mktemp("fragile"), JOB_LEASE="PT5S") as opened:
        yield opened


@pytest.fixture(scope="module")
async def swell(fragile: Stack) -> AsyncIterator[Swell]:
    async with client_of(fragile.url) as client:
        yield client


async def test_a_build_survives_its_builder_and_ends_once(
    fragile: Stack, swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The next builder starts it again, and the log shows that. No process of the first attempt remains."""
    before = await builds_ended(fragile)
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

    assert await builds_ended(fragile) == before + 1


async def test_a_build_of_several_platforms_survives_the_builder_that_waits(
    fragile: Stack, swell: Swell, upstreams: Upstreams
) -> None:
    """Waiting for the children uses no build slot: all slots are in use when the request arrives. The next builder
    continues to wait, and the build ends once.
    """
    before = await builds_ended(fragile)
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
    assert await builds_ended(fragile) == before + len(busy) + 3


async def test_a_build_that_was_stored_but_not_published_is_published_later(
    fragile: Stack, swell: Swell, upstreams: Upstreams
) -> None:
    """The gateway dies between the two steps. The message queue, which is stopped meanwhile, receives the job later."""
    fragile.kill("nats", signal.SIGSTOP)
    submitting = asyncio.create_task(swell.build(f"FROM {upstreams.image()}\nRUN echo orphaned\n"))
    async with redis.connect(fragile.env["SWELL_REDIS_URL"]) as connection:
        builds = RedisBuilds(connection)

        async def stored() -> list[str]:
            return await builds.unpublished(timedelta(0))

        (build_id,) = await until(stored)
    fragile.kill("gateway")
    with pytest.raises(Unreachable):
        await submitting
    fragile.kill("nats")  # bytes that were sent and not yet read are lost as well
    await fragile.restart("nats")
    await fragile.restart("gateway")

    assert (await swell.ended(build_id))["succeeded"]


async def test_all_records_survive_a_power_cut(new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path) -> None:
    """All processes die at once. A second start in the same home needs no repair."""
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

        await until(log_is_kept)  # the store reports that it is ready some moments before it finds its objects


async def builds_ended(stack: Stack) -> int:
    """Return how many BuildDone events were published, once no job is queued or in progress."""
    async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as nats:

        async def no_jobs() -> bool:
            return (await nats.stream.stream_info("JOBS")).state.messages == 0

        await until(no_jobs)
        info = await nats.stream.stream_info("EVENTS", subjects_filter=BuildDone.subject)
        return (info.state.subjects or {}).get(BuildDone.subject, 0)


@pytest.mark.full
async def test_make_up_restarts_every_crashed_process(
    new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """After SIGKILL of each child process in turn, a build succeeds again within seconds."""
    async with new_stack(tmp_path, JOB_LEASE="PT5S") as stack, client_of(stack.url) as swell:
        supervising = asyncio.create_task(stack.supervise())
        try:
            for number, name in enumerate([*BACKENDS, *(service.name for service in SERVICES)]):
                killed = stack.pid(name)
                family = descendants(killed)
                stack.kill(name)

                async def works(number: int = number, killed: int = killed, name: str = name) -> bool:
                    """Request a new build until one succeeds."""
                    try:
                        if stack.pid(name) == killed:
                            return False
                        answer = await swell.build(f"FROM {upstreams.image()}\nENV N={number}\n")
                        async with asyncio.timeout(20):
                            return bool((await swell.ended(answer["buildId"]))["succeeded"])
                    except (AssertionError, KeyError, TimeoutError, SwellClientError):
                        return False

                await until(works, seconds=60)
                assert not await gone(family)
                assert not supervising.done()
        finally:
            supervising.cancel()
            await asyncio.wait([supervising])
