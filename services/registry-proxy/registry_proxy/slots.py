"""Limits on concurrent transfers and index walks: one per registry and one in total.

The limit per registry keeps a slow registry from delaying pulls of the others. A client can have many registries, since
names cost nothing: when all slots are taken, slow transfers return to the end of the queue.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from swell.errors import Unavailable, UpstreamSlow

TOTAL = 192  # below the session's connection limit: manifests and tokens need connections as well
PER_REGISTRY = 48
WAIT_SECONDS = 20.0
FAST = 512 << 10  # bytes a second, below which a transfer is slow
WINDOW = 10.0  # seconds in which that is measured


class TransferSlots:
    """A slot is held while a registry sends a response.

    *total* and *per_registry* are numbers of slots; *wait* is in seconds, as is the time that *now* returns.
    """

    def __init__(
        self,
        total: int = TOTAL,
        per_registry: int = PER_REGISTRY,
        wait: float = WAIT_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._waiting = 0
        self._total = asyncio.Semaphore(total)
        self._per_registry = per_registry
        self._wait = wait
        self._registries: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def take(self, registry: str) -> AsyncIterator[None]:
        """Wait for a slot and hold it while the block runs.

        Raises:
            Unavailable: no slot became free in time.
        """
        registry_slots = self._registries.setdefault(registry, asyncio.Semaphore(self._per_registry))
        self._users[registry] += 1
        try:
            async with _acquired(registry_slots, self._wait, registry), self._any_slot(registry):
                yield
        finally:
            self._users[registry] -= 1
            if not self._users[registry]:
                del self._users[registry], self._registries[registry]

    @asynccontextmanager
    async def _any_slot(self, registry: str) -> AsyncIterator[None]:
        self._waiting += 1
        waits = True
        try:
            async with _acquired(self._total, self._wait, registry):
                self._waiting -= 1
                waits = False
                yield
        finally:
            self._waiting -= waits

    async def paced(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield *pieces*, of a transfer with a slot, until they are slow while other transfers wait for any slot.

        Only time in which the reader waits for a piece counts, and only while others wait.

        Raises:
            UpstreamSlow: less than 512 KiB/s arrived over ten seconds; the slot is for the first one in the queue.
        """
        waited, received, since = 0.0, 0, self._now()
        async for piece in pieces:
            if self._waiting:
                waited += self._now() - since
                received += len(piece)
            if waited > WINDOW:
                if received < FAST * waited:
                    raise UpstreamSlow("the registry is slow, and other transfers wait", retry_after=10)
                waited, received = 0.0, 0
            yield piece
            since = self._now()


@asynccontextmanager
async def _acquired(slots: asyncio.Semaphore, seconds: float, registry: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            await slots.acquire()
    except TimeoutError as error:
        raise Unavailable(f"too many transfers from {registry} are running", retry_after=10) from error
    try:
        yield
    finally:
        slots.release()
