"""How builds end: a pull waits, is woken at once, and is sent away before its client gives up."""

import asyncio
import time
from datetime import timedelta

import pytest

from gateway.adapters.ends import LOOK_AGAIN, BuildEnds
from swell.errors import BuildFailed, Unavailable
from swell.jobs.messages import BuildDone
from swell.store.builds import MemoryBuilds
from swell.store.records import Build, BuildResult, Submission
from tests.unit.gateway.conftest import NOON, ended

OK = ended(succeeded=True)


class Watched(MemoryBuilds):
    """Counts how often it is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.looked = asyncio.Event()

    async def get(self, build_id: str) -> Build | None:
        self.looks += 1
        self.looked.set()
        return await super().get(build_id)


@pytest.fixture
def builds() -> Watched:
    return Watched()


@pytest.fixture
def ends(builds: Watched) -> BuildEnds:
    return BuildEnds(builds, patience=timedelta(seconds=30))


@pytest.fixture
async def build_id(builds: Watched) -> str:
    """A build that is running."""
    submission = Submission(
        container_id="c44968632f89dd6c",
        target_image="registry.example.com/team/builds:c44968632f89dd6c",
        containerfile="FROM alpine\n",
        platform="linux/amd64",
        created=NOON,
    )
    return (await builds.submit(submission))[0]


def done(build_id: str) -> BuildDone:
    return BuildDone(id=build_id, target_image="r/i:t", platform="linux/amd64", succeeded=True, finished=NOON)


async def waiting(ends: BuildEnds, builds: Watched, build_id: str) -> asyncio.Task[BuildResult]:
    """Someone who has looked and found that the build still runs."""
    builds.looked.clear()
    task = asyncio.create_task(ends.result(build_id))
    await builds.looked.wait()
    return task


async def test_the_news_wake_whoever_waits_at_once(ends: BuildEnds, builds: Watched, build_id: str) -> None:
    waiter = await waiting(ends, builds, build_id)
    await builds.finish(build_id, OK)
    started = time.monotonic()
    ends.heard(done(build_id))

    assert await waiter == OK
    assert time.monotonic() - started < LOOK_AGAIN / 2


async def test_an_end_whose_news_were_missed_is_found(ends: BuildEnds, builds: Watched, build_id: str) -> None:
    """The connection to NATS was away, or the builder died between the record and the event."""
    waiter = await waiting(ends, builds, build_id)
    await builds.finish(build_id, OK)

    assert await asyncio.wait_for(waiter, 3 * LOOK_AGAIN) == OK


async def test_news_without_a_record_are_looked_into_once(ends: BuildEnds, builds: Watched, build_id: str) -> None:
    """A state store that lags behind is asked again after a while, not as fast as it can answer."""
    waiter = await waiting(ends, builds, build_id)
    builds.looked.clear()
    ends.heard(done(build_id))
    await builds.looked.wait()
    for _ in range(1000):
        await asyncio.sleep(0)
    looks = builds.looks
    await builds.finish(build_id, OK)
    ends.heard(done(build_id))

    assert await waiter == OK
    assert looks == 2


async def test_a_hundred_pulls_look_once(ends: BuildEnds, builds: Watched, build_id: str) -> None:
    await builds.finish(build_id, OK)

    results = await asyncio.gather(*(ends.result(build_id) for _ in range(100)))
    results.append(await ends.result(build_id))

    assert set(results) == {OK}
    assert builds.looks == 1


async def test_a_pull_that_leaves_does_not_stop_the_others(ends: BuildEnds, builds: Watched, build_id: str) -> None:
    first = await waiting(ends, builds, build_id)
    second = asyncio.create_task(ends.result(build_id))
    first.cancel()
    await builds.finish(build_id, OK)
    ends.heard(done(build_id))

    assert await second == OK


async def test_a_pull_waits_only_so_long(builds: Watched, build_id: str) -> None:
    """503 with Retry-After: container engines try again, and then wait on."""
    ends = BuildEnds(builds, patience=timedelta(seconds=0.1))

    with pytest.raises(Unavailable, match=f"the build {build_id} is still running") as caught:
        await ends.result(build_id)

    assert caught.value.retry_after == 10


async def test_a_build_that_nobody_knows_has_failed(ends: BuildEnds) -> None:
    """Its record has expired, and with it the hope that it ends."""
    with pytest.raises(BuildFailed, match="bd-0_1"):
        await ends.result("bd-0_1")


async def test_news_of_builds_that_nobody_waits_for_cost_nothing(ends: BuildEnds, builds: Watched) -> None:
    ends.heard(done("bd-0_1"))

    assert builds.looks == 0
