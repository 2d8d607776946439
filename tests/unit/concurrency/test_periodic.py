"""Periodic work and background tasks: they repeat, survive outages, and end with their owner."""

import asyncio
from datetime import timedelta

import pytest

from swell.concurrency.periodic import every, owned, running_every
from swell.concurrency.tasks import TaskOwner
from swell.errors import Unavailable

SOON = timedelta(milliseconds=1)


class Work:
    """Counts its calls; raises *error* in the first of them."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.third = asyncio.Event()
        self._error = error

    async def __call__(self) -> None:
        self.calls += 1
        if self.calls == 3:
            self.third.set()
        if self._error and self.calls == 1:
            raise self._error


async def test_work_is_repeated_until_the_block_ends() -> None:
    """After the block nothing runs any more."""
    work = Work()
    async with asyncio.timeout(10), running_every(SOON, work, event="failed"):
        await work.third.wait()

    calls = work.calls
    await asyncio.sleep(0.01)
    assert work.calls == calls


async def test_an_unavailable_backend_does_not_end_the_work() -> None:
    """It is called again after the interval."""
    work = Work(Unavailable("no answer"))

    async with asyncio.timeout(10), running_every(SOON, work, event="failed"):
        await work.third.wait()


async def test_another_error_ends_the_work_and_is_raised() -> None:
    """A programming error is not retried without end."""
    work = Work(ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        await every(SOON, work, event="failed")
    assert work.calls == 1


async def test_an_error_of_owned_work_does_not_end_the_block() -> None:
    """The block does something more important than its background work."""

    async def fail() -> None:
        raise ZeroDivisionError

    async with owned(fail(), event="failed"):
        await asyncio.sleep(0)


async def test_the_first_call_can_wait_for_the_interval() -> None:
    """A lease that was just taken need not be renewed at once."""
    work = Work()

    async with running_every(timedelta(hours=1), work, event="failed", first=False):
        await asyncio.sleep(0.01)
    assert work.calls == 0


async def test_the_end_of_the_block_waits_for_the_end_of_the_work() -> None:
    """What the work cleans up is cleaned up before the next step."""
    started, cleaned = asyncio.Event(), False

    async def work() -> None:
        nonlocal cleaned
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned = True

    async with owned(work(), event="failed"):
        await started.wait()
    assert cleaned


async def test_an_owner_cancels_its_tasks_at_the_end() -> None:
    """No task outlives its owner."""
    async with TaskOwner() as owner:
        task = owner.start(asyncio.Event().wait())
        assert len(owner) == 1

    assert task.cancelled() and len(owner) == 0


async def test_a_failed_task_does_not_end_the_others() -> None:
    """This is the difference from a TaskGroup."""
    done = asyncio.Event()

    async def fail() -> None:
        raise ZeroDivisionError

    async def succeed() -> None:
        done.set()

    async with TaskOwner() as owner:
        failed = owner.start(fail())
        owner.start(succeed())
        await owner.wait(10)

    assert done.is_set() and isinstance(failed.exception(), ZeroDivisionError)
