"""Closes context managers in the background, so that builds do not wait for the removal of their files."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Self, TypeVar

from swell.concurrency.tasks import TaskOwner
from swell.log import log

_MOST = 4  # at a time; `close_later` waits for one of them before it opens another

T = TypeVar("T")


class BackgroundCloser:
    """Owns the tasks that close; leaving the block of `open` waits for all of them."""

    def __init__(self) -> None:
        self._tasks = TaskOwner()

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Yield a closer; after the block everything is closed."""
        closer = cls()
        try:
            yield closer
        finally:
            await closer._tasks.wait()

    @asynccontextmanager
    async def close_later(self, manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """Enter *manager* and yield its value; after the block it is closed in the background."""
        while len(self._tasks) >= _MOST:
            await self._tasks.wait_for_one()
        async with AsyncExitStack() as opened:
            value = await opened.enter_async_context(manager)
            try:
                yield value
            finally:
                self._tasks.start(_close(opened.pop_all()))


async def _close(opened: AsyncExitStack) -> None:
    try:
        await opened.aclose()
    except Exception:  # noqa: BLE001  (the caller does not wait for it)
        log.exception("not closed in the background")
