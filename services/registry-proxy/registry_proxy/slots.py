"""Limits on concurrent transfers and index walks: one per registry and one in total.

The limit per registry keeps a slow registry from delaying pulls of the others.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from swell.errors import Unavailable

TOTAL = 192  # below the session's connection limit: manifests and tokens need connections as well
PER_REGISTRY = 48
WAIT_SECONDS = 20.0


class TransferSlots:
    """A slot is held while a registry sends a response.

    *total* and *per_registry* are numbers of slots; *wait* is in seconds.
    """

    def __init__(self, total: int = TOTAL, per_registry: int = PER_REGISTRY, wait: float = WAIT_SECONDS) -> None:
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
            async with _acquired(registry_slots, self._wait, registry), _acquired(self._total, self._wait, registry):
                yield
        finally:
            self._users[registry] -= 1
            if not self._users[registry]:
                del self._users[registry], self._registries[registry]


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
