"""How builds end: waiters wake at once, and find the result also when they missed the event."""

import asyncio

import pytest

from swell.concurrency import notifier
from swell.store.build_waiter import BuildWaiter
from tests.integration.watched import Watched, done
from tests.unit.gateway.doubles import ended

OK = ended(succeeded=True)


@pytest.fixture
def builds() -> Watched:
    return Watched()


@pytest.fixture
def ends(builds: Watched) -> BuildWaiter:
    return BuildWaiter(builds)


@pytest.fixture
async def build_id(builds: Watched) -> str:
    return await builds.running()


async def test_the_event_wakes_all_waiters_at_once(
    ends: BuildWaiter, builds: Watched, build_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them; a cancelled one does not stop the others. Polls are an hour apart, so only the event wakes them."""
    monkeypatch.setattr(notifier, "POLL_SECONDS", 3600)
    gone, *waiters = [await builds.waiter(ends.result(build_id)) for _ in range(3)]
    gone.cancel()
    await builds.finish(build_id, OK)
    ends.heard(done(build_id))

    async with asyncio.timeout(30):
        assert await asyncio.gather(*waiters) == [OK, OK]


async def test_an_end_whose_event_was_missed_is_found(ends: BuildWaiter, builds: Watched, build_id: str) -> None:
    """The connection to NATS was away, or the builder died between the record and the event."""
    waiter = await builds.waiter(ends.result(build_id))
    await builds.finish(build_id, OK)

    async with asyncio.timeout(30):
        assert await waiter == OK


async def test_an_event_without_a_record_is_looked_into_once(ends: BuildWaiter, builds: Watched, build_id: str) -> None:
    """A state store that lags behind is asked again after a while, not as fast as it can answer."""
    waiter = await builds.waiter(ends.result(build_id))
    ends.heard(done(build_id))
    await builds.next_look()
    for _ in range(1000):
        await asyncio.sleep(0)
    looks = builds.looks
    await builds.finish(build_id, OK)
    ends.heard(done(build_id))

    assert await waiter == OK
    assert looks == 2


async def test_an_unknown_build_is_not_waited_for(ends: BuildWaiter) -> None:
    """Its record has expired, and with it the hope that it ends."""
    assert await ends.result("bd-0_1") is None


async def test_events_of_builds_without_a_waiter_store_nothing(ends: BuildWaiter, builds: Watched) -> None:
    """Every gateway receives the events of all builds."""
    ends.heard(done("bd-0_1"))

    assert builds.looks == 0
