"""Background work that belongs to a block of code."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator["asyncio.Task[None]"]:
    """Run *work* while the block runs; at the end of the block cancel it, and wait until it has ended.

    Unlike in a `TaskGroup`, an error of the block is raised as it is, not within an `ExceptionGroup`, and an error of
    *work* is only in the task.
    """
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
