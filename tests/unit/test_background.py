"""Background work: it runs exactly as long as its block."""

import asyncio

import pytest

from swell.concurrency.background import background


async def test_background_work_ends_with_its_block() -> None:
    """A block never leaves a task behind."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    async with background(work()) as task:
        await asyncio.sleep(0)
        assert not task.done()

    assert ended.is_set()
    assert task.cancelled()


async def test_an_error_of_the_block_is_raised_unchanged() -> None:
    """Callers catch the error by its class; an exception group would hide it."""
    with pytest.raises(KeyError, match="block"):
        async with background(asyncio.Event().wait()):  # type: ignore[arg-type]
            raise KeyError("block")


async def test_an_error_of_the_work_stays_in_its_task() -> None:
    """The block decides whether the error matters."""

    async def work() -> None:
        raise ValueError("work")

    async with background(work()) as task:
        await asyncio.wait({task})

    assert isinstance(task.exception(), ValueError)
