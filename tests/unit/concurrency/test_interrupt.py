"""A block ends when its limit is reached."""

import asyncio
import inspect

import pytest

from swell.concurrency.interrupt import interrupted_by


async def reached() -> Exception:
    return KeyError("limit")


async def never() -> Exception:
    await asyncio.Event().wait()
    raise AssertionError


async def test_the_error_of_the_limit_ends_the_block() -> None:
    """The block does not see its own cancellation: the caller gets the reason."""
    with pytest.raises(KeyError, match="limit"):
        async with interrupted_by(reached()):
            await asyncio.Event().wait()

    task = asyncio.current_task()
    assert task and not task.cancelling()


async def test_a_limit_that_is_reached_at_the_end_of_the_block_counts() -> None:
    """The cancellation must not reach the code behind the block."""
    with pytest.raises(KeyError, match="limit"):
        async with interrupted_by(reached()):
            await asyncio.sleep(0)

    await asyncio.sleep(0)


async def test_a_block_below_its_limit_stops_the_watch() -> None:
    """No task remains."""
    before = asyncio.all_tasks()
    async with interrupted_by(never()):
        await asyncio.sleep(0)

    assert asyncio.all_tasks() == before


async def test_a_block_that_fails_at_once_leaves_no_watch() -> None:
    """Its own error is raised, without a warning about a coroutine that was never awaited."""
    watch = never()
    with pytest.raises(KeyError, match="own"):
        async with interrupted_by(watch):
            raise KeyError("own")

    assert inspect.getcoroutinestate(watch) == inspect.CORO_CLOSED


async def test_a_cancellation_from_elsewhere_is_passed_on() -> None:
    """A build that is cancelled is not reported as one that reached a limit."""

    async def work() -> None:
        async with interrupted_by(never()):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
