"""Interrupt a block of code when a limit is reached."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from swell.concurrency.background import background


@asynccontextmanager
async def interrupted_by(watch: Coroutine[Any, Any, Exception]) -> AsyncIterator[None]:
    """Cancel the block when *watch* returns, and raise the exception that it returned.

    At the end of the block, *watch* is cancelled, and its end is awaited. A cancellation from elsewhere is passed on.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (a coroutine runs in a task)
    cancelled_before = task.cancelling()
    reached: Exception | None = None

    async def interrupt() -> None:
        nonlocal reached
        reached = await watch
        task.cancel()

    try:
        async with background(interrupt()):
            yield
    except asyncio.CancelledError as error:
        if reached and task.uncancel() <= cancelled_before:
            raise reached from error
        raise
    finally:
        watch.close()  # it has not begun if the block ended at once
