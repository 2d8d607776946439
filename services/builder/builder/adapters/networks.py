"""Networks for builds, of which the next is opened before it is wanted: a small build would wait for it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Self

from builder.adapters.network import Network
from builder.domain.failure import BuildFailure

_READY = 1

_Opened = tuple[AsyncExitStack, Network]


class Networks:
    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Network]]) -> None:
        self._opening = opening
        self._ready: deque[asyncio.Task[_Opened]] = deque()

    @classmethod
    @asynccontextmanager
    async def open(cls, opening: Callable[[], AbstractAsyncContextManager[Network]]) -> AsyncIterator[Self]:
        """Begin; those that nobody has taken end with the block."""
        networks = cls(opening)
        networks._fill()
        try:
            yield networks
        finally:
            await networks._close()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Network]:
        """A network for the length of the block.

        Raises:
            BuildFailure: it cannot be had here.
        """
        closing, network = await self._ready_one() or await self._open()
        async with closing:
            try:
                yield network
            finally:
                self._fill()  # not before: a build begins faster while nothing else does

    async def _ready_one(self) -> _Opened | None:
        """None when there is none, nothing came of it, or it has died since."""
        if not self._ready:
            return None
        task = self._ready.popleft()
        try:
            closing, network = await asyncio.shield(task)
        except asyncio.CancelledError:
            self._ready.appendleft(task)
            raise
        except BuildFailure:
            return None
        if network.is_open:
            return closing, network
        await closing.aclose()
        return None

    def _fill(self) -> None:
        while len(self._ready) < _READY:
            self._ready.append(asyncio.create_task(self._open()))

    async def _open(self) -> _Opened:
        async with AsyncExitStack() as closing:
            network = await closing.enter_async_context(self._opening())
            return closing.pop_all(), network

    async def _close(self) -> None:
        for task in self._ready:
            task.cancel()
        for opened in await asyncio.gather(*self._ready, return_exceptions=True):
            if not isinstance(opened, BaseException):
                await opened[0].aclose()
