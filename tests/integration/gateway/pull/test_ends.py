"""How builds end for pulls: each waits, and is sent away before its client gives up; however many, one looks."""

import asyncio
from datetime import timedelta

import pytest

from gateway.adapters.builds.build_waiter import BuildWaiter
from swell.errors import BuildFailed, Unavailable
from swell.store.records import Build
from tests.integration.watched import Watched, done
from tests.unit.gateway.doubles import ended

OK = ended(succeeded=True)


@pytest.fixture
def builds() -> Watched:
    return Watched()


@pytest.fixture
async def build_id(builds: Watched) -> str:
    return await builds.running()


@pytest.fixture
def ends(builds: Watched) -> BuildWaiter:
    return BuildWaiter(builds, timeout=timedelta(seconds=30))


async def test_a_hundred_pulls_look_once(ends: BuildWaiter, builds: Watched, build_id: str) -> None:
    """The pulls of one build share one wait."""
    await builds.finish(build_id, OK)

    results = await asyncio.gather(*(ends.result(build_id) for _ in range(100)))
    results.append(await ends.result(build_id))

    assert set(results) == {OK}
    assert builds.looks == 1


async def test_a_pull_that_leaves_does_not_stop_the_others(ends: BuildWaiter, builds: Watched, build_id: str) -> None:
    """A cancelled pull must not cancel the shared wait."""
    first = await builds.waiter(ends.result(build_id))
    second = asyncio.create_task(ends.result(build_id))
    first.cancel()
    await builds.finish(build_id, OK)
    ends.on_build_done(done(build_id))

    assert await second == OK


async def test_a_pull_waits_only_so_long(builds: Watched, build_id: str) -> None:
    """503 with Retry-After: container engines try again, and then wait on."""
    ends = BuildWaiter(builds, timeout=timedelta(seconds=0.1))

    with pytest.raises(Unavailable, match=f"the build {build_id} is still running") as caught:
        await ends.result(build_id)

    assert caught.value.retry_after == 10


async def test_a_pull_waits_on_while_the_store_is_away(builds: Watched, build_id: str) -> None:
    """The build may end meanwhile; its result is read when the store is back."""
    ends = BuildWaiter(Away(builds, looks=3), timeout=timedelta(seconds=30))  # type: ignore[arg-type]
    waiting = asyncio.create_task(ends.result(build_id))
    await builds.finish(build_id, OK)

    assert await waiting == OK
    assert ends.is_known(build_id)


class Away:
    """A store that does not answer for the next *looks*."""

    def __init__(self, builds: Watched, looks: int) -> None:
        self._builds = builds
        self._looks = looks

    async def get(self, build_id: str) -> Build | None:
        if self._looks:
            self._looks -= 1
            raise Unavailable
        return await self._builds.get(build_id)


async def test_an_unknown_build_has_failed(ends: BuildWaiter) -> None:
    """Its record has expired, and with it the hope that it ends."""
    with pytest.raises(BuildFailed, match="bd-0_1"):
        await ends.result("bd-0_1")
