"""Closing what is done with in the background, where it keeps nobody waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Self, TypeVar

from swell.log import log

_MOST = 4  # at a time; whoever would open more waits

T = TypeVar("T")


class Closing:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Begin; behind the block all is closed."""
        closing = cls()
        try:
            yield closing
        finally:
            await asyncio.gather(*closing._tasks)

    @asynccontextmanager
    async def later(self, opening: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """What *opening* opens; behind the block it is being closed."""
        while len(self._tasks) >= _MOST:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        async with AsyncExitStack() as opened:
            value = await opened.enter_async_context(opening)
            try:
                yield value
            finally:
                self._begin(opened.pop_all())

    def _begin(self, opened: AsyncExitStack) -> None:
        task = asyncio.create_task(_close(opened))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _close(opened: AsyncExitStack) -> None:
    try:
        await opened.aclose()
    except Exception:  # noqa: BLE001  nobody else would tell
        log.exception("something was not closed")
