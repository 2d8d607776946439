"""Closes context managers in the background, so that builds do not wait for the removal of their files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Self, TypeVar

from swell.log import log

_MOST = 4  # at a time; `close_later` waits for one of them before it opens another

T = TypeVar("T")


class BackgroundCloser:
    """Owns the tasks that close; leaving the block of `open` waits for all of them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Yield a closer; after the block everything is closed."""
        closer = cls()
        try:
            yield closer
        finally:
            await asyncio.gather(*closer._tasks)

    @asynccontextmanager
    async def close_later(self, manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """Enter *manager* and yield its value; after the block it is closed in the background."""
        while len(self._tasks) >= _MOST:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        async with AsyncExitStack() as opened:
            value = await opened.enter_async_context(manager)
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
    except Exception:  # noqa: BLE001  (the caller does not wait for it)
        log.exception("not closed in the background")
