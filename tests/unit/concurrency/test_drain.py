"""The drain: running work may finish within one limit that all parts of a process share."""

import asyncio
from datetime import timedelta

from swell.concurrency.drain import Drain

LONG, SHORT = timedelta(minutes=10), timedelta(milliseconds=50)


async def test_work_that_finishes_in_time_is_waited_for() -> None:
    """The wait ends with the work, long before the limit."""
    drain, go = Drain(LONG), asyncio.Event()
    work = asyncio.create_task(go.wait())
    drain.start()
    asyncio.get_running_loop().call_soon(go.set)
    async with asyncio.timeout(30):
        await drain.finish([work])

    assert work.done()


async def test_the_wait_ends_with_the_limit() -> None:
    """The work is not cancelled here: its owner hands it over."""
    drain = Drain(SHORT)
    work = asyncio.create_task(asyncio.Event().wait())
    drain.start()
    async with asyncio.timeout(30):
        await drain.finish([work])

    assert not work.done()
    assert drain.seconds == 0
    work.cancel()


async def test_a_second_request_to_stop_ends_every_wait() -> None:
    """All parts that wait notice it."""
    drain = Drain(LONG)
    work = asyncio.create_task(asyncio.Event().wait())
    drain.start()
    asyncio.get_running_loop().call_later(0.05, drain.end)
    async with asyncio.timeout(30):
        await asyncio.gather(drain.finish([work]), drain.until(lambda: False))

    assert (drain.is_started, drain.seconds) == (True, 0)
    work.cancel()


async def test_the_time_runs_from_the_first_request() -> None:
    """Starting twice does not extend it."""
    drain = Drain(LONG)
    drain.start()
    before = drain.seconds
    drain.start()

    assert drain.seconds <= before <= LONG.total_seconds()


async def test_a_service_that_fails_waits_only_a_moment() -> None:
    """It has to be restarted; nothing asked it to finish."""
    assert Drain(LONG).seconds == 5


async def test_a_condition_is_waited_for() -> None:
    """For work that is counted, such as requests."""
    drain, running = Drain(LONG), [1]
    drain.start()
    asyncio.get_running_loop().call_later(0.05, running.clear)
    async with asyncio.timeout(30):
        await drain.until(lambda: not running)

    assert not running
