"""Single-flight: identical work is done once."""

import asyncio

import pytest

from swell.concurrency.single_flight import SingleFlight


class Work:
    """Counts how often it is started; goes on when let."""

    def __init__(self) -> None:
        self.started = self.going = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.started += 1
        self.going += 1
        try:
            await self.go.wait()
        finally:
            self.going -= 1
        return self.started


async def test_a_hundred_callers_share_one_run() -> None:
    """Simultaneous requests for one key do the work once."""
    single_flight, work = SingleFlight[str, int](), Work()
    callers = [asyncio.create_task(single_flight.run("a", work)) for _ in range(100)]
    await asyncio.sleep(0)
    work.go.set()

    assert set(await asyncio.gather(*callers)) == {1}


async def test_a_cancelled_caller_does_not_stop_the_others() -> None:
    """The work belongs to every caller, not to the first one."""
    single_flight, work = SingleFlight[str, int](), Work()
    first, second = (asyncio.create_task(single_flight.run("a", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    work.go.set()

    assert await second == 1


async def test_an_error_reaches_every_caller_and_is_not_cached() -> None:
    """The next call tries again: the cause may be gone."""
    single_flight = SingleFlight[str, int]()

    async def fail() -> int:
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            await single_flight.run("a", fail)
    work = Work()
    work.go.set()

    assert await single_flight.run("a", work) == 1


async def test_work_without_waiters_is_ended_unless_it_is_cached() -> None:
    """And is over when the last caller knows; who comes then has it begun anew."""
    single_flight, work = SingleFlight[str, int](kept=False), Work()
    first, second = (asyncio.create_task(single_flight.run("a", work)) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.wait([first])
    assert work.going == 1
    second.cancel()
    await asyncio.wait([second])
    assert work.going == 0

    work.go.set()
    assert await single_flight.run("a", work) == 2


async def test_work_continues_without_callers_by_default() -> None:
    """The next caller of the key uses its result."""
    single_flight, work = SingleFlight[str, int](), Work()
    caller = asyncio.create_task(single_flight.run("a", work))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    work.go.set()

    assert await single_flight.run("a", work) == 1
    assert work.started == 1
