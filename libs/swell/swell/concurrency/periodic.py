"""Periodic work in the background: refresh, renew, publish, clean up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from swell.errors import Unavailable
from swell.log import log

Work = Callable[[], Awaitable[None]]


async def every(interval: timedelta, work: Work, *, event: str, first: bool = True) -> None:
    """Call *work*, wait for *interval*, and repeat until cancelled; *first* says whether it is called at once.

    `Unavailable` is logged as *event*, and the work is called again after the interval. Other errors end the loop. A
    client library that swallows a cancellation delays it to the end of the call.
    """
    task = asyncio.current_task()
    if not first:
        await asyncio.sleep(interval.total_seconds())
    while not (task and task.cancelling()):
        try:
            await work()
        except Unavailable as error:
            log.warning(event, error=str(error))
        if task and task.cancelling():
            return
        await asyncio.sleep(interval.total_seconds())


@asynccontextmanager
async def running_every(interval: timedelta, work: Work, *, event: str, first: bool = True) -> AsyncIterator[None]:
    """Run `every` while the block runs; on exit it is cancelled, and its end is awaited.

    An error of *work* ends the periodic calls, not the block; it is logged as *event*.
    """
    async with owned(every(interval, work, event=event, first=first), event=event):
        yield


@asynccontextmanager
async def owned(work: Coroutine[Any, Any, None], *, event: str) -> AsyncIterator[None]:
    """Run *work* as a task while the block runs; on exit it is cancelled, and its end is awaited.

    An error of *work* does not end the block; it is logged as *event*.
    """

    def log_error(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error(event, exc_info=error)

    task = asyncio.create_task(work)
    task.add_done_callback(log_error)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
