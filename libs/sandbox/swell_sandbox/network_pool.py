"""A pool of networks for sandboxes. One is opened in advance, because that takes longer than a small build."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Self

from swell_sandbox.errors import SandboxUnavailable
from swell_sandbox.network import Network

_READY = 1

_Opened = tuple[AsyncExitStack, Network]


class NetworkPool:
    """Opens networks with *open_network*, one of them in advance."""

    def __init__(self, open_network: Callable[[], AbstractAsyncContextManager[Network]]) -> None:
        self._open_network = open_network
        self._ready: deque[asyncio.Task[_Opened]] = deque()

    @classmethod
    @asynccontextmanager
    async def open(cls, open_network: Callable[[], AbstractAsyncContextManager[Network]]) -> AsyncIterator[Self]:
        """Yield a pool; its unused networks are closed after the block."""
        networks = cls(open_network)
        networks._fill()
        try:
            yield networks
        finally:
            await networks._close()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Network]:
        """Yield a network, which is closed after the block.

        Raises:
            SandboxUnavailable: this machine cannot open one.
            OSError: the disk is full, for example.
        """
        closing, network = await self._take_ready() or await self._open()
        async with closing:
            try:
                yield network
            finally:
                self._fill()  # not earlier: it would slow the start of this build

    async def _take_ready(self) -> _Opened | None:
        """Return the network that was opened in advance; None if it could not be opened, or has ended."""
        if not self._ready:
            return None
        task = self._ready.popleft()
        try:
            closing, network = await asyncio.shield(task)
        except asyncio.CancelledError:
            self._ready.appendleft(task)
            raise
        except (SandboxUnavailable, OSError):
            return None
        if network.is_open:
            return closing, network
        await closing.aclose()
        return None

    def _fill(self) -> None:
        while len(self._ready) < _READY:
            self._ready.append(asyncio.create_task(self._open()))  # no group: `_take_ready` and `_close` await it

    async def _open(self) -> _Opened:
        async with AsyncExitStack() as closing:
            network = await closing.enter_async_context(self._open_network())
            return closing.pop_all(), network

    async def _close(self) -> None:
        for task in self._ready:
            task.cancel()
        for opened in await asyncio.gather(*self._ready, return_exceptions=True):
            if not isinstance(opened, BaseException):
                await opened[0].aclose()
