"""Waking many tasks."""

import asyncio

from swell.concurrency.waiters import GROUP, Waiters


async def test_all_that_wait_are_woken_and_others_run_in_between() -> None:
    """A task that does nothing but yield gets a turn before the last group is woken."""
    waiters, woken = Waiters(), list[int]()

    async def wait(number: int) -> None:
        await waiters.wait()
        woken.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(3 * GROUP)]
    await asyncio.sleep(0)
    waiters.wake_all()
    await asyncio.sleep(0)
    meanwhile = len(woken)
    await asyncio.gather(*tasks)

    assert woken == list(range(3 * GROUP))
    assert 0 < meanwhile < len(woken)


async def test_who_waits_again_meanwhile_is_not_woken_twice() -> None:
    """A client that has read everything waits for the next change, although others are still being woken."""
    waiters, times = Waiters(), list[int]()
    all_woken = asyncio.Event()

    async def wait() -> None:
        while True:
            await waiters.wait()
            times.append(1)
            if len(times) >= 2 * GROUP:
                all_woken.set()

    tasks = [asyncio.create_task(wait()) for _ in range(2 * GROUP)]
    await asyncio.sleep(0)
    waiters.wake_all()
    await asyncio.wait_for(all_woken.wait(), 10)
    for _ in range(10):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert len(times) == 2 * GROUP


async def test_a_change_while_others_are_woken_reaches_those_that_wait_again() -> None:
    """The first clients have read the first line and wait; a second line comes before the last clients are woken."""
    waiters, rounds = Waiters(), list[int]()

    async def wait_twice() -> None:
        for number in range(2):
            await waiters.wait()
            rounds.append(number)

    tasks = [asyncio.create_task(wait_twice()) for _ in range(3 * GROUP)]
    await asyncio.sleep(0)
    waiters.wake_all()
    await asyncio.sleep(0)
    waiters.wake_all()
    waiters.wake_all()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)

    assert rounds == [0] * 3 * GROUP + [1] * 3 * GROUP


async def test_a_cancelled_task_is_skipped() -> None:
    """A client that disconnected does not keep the others from being woken."""
    waiters = Waiters()
    gone, kept = asyncio.create_task(waiters.wait()), asyncio.create_task(waiters.wait())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    waiters.wake_all()

    await asyncio.wait_for(kept, 10)
    assert gone.cancelled()
