"""How many transfers or walks run at once: of one registry, so that a slow one holds up nobody else, and of all."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from swell.errors import Unavailable

TOTAL = 192  # fewer than the connections that a session may have: manifests and tokens need some as well
OF_ONE_REGISTRY = 48
WAIT_SECONDS = 20.0


class TransferSlots:
    """A slot is taken for as long as a registry sends what was asked for."""

    def __init__(self, total: int = TOTAL, each: int = OF_ONE_REGISTRY, wait: float = WAIT_SECONDS) -> None:
        self._total = asyncio.Semaphore(total)
        self._each = each
        self._wait = wait
        self._registries: dict[str, asyncio.Semaphore] = {}
        self._interest: Counter[str] = Counter()

    @asynccontextmanager
    async def take(self, registry: str) -> AsyncIterator[None]:
        """Wait for a slot.

        Raises:
            Unavailable: none was free in time.
        """
        own = self._registries.setdefault(registry, asyncio.Semaphore(self._each))
        self._interest[registry] += 1
        try:
            async with _acquired(own, self._wait, registry), _acquired(self._total, self._wait, registry):
                yield
        finally:
            self._interest[registry] -= 1
            if not self._interest[registry]:
                del self._interest[registry], self._registries[registry]


@asynccontextmanager
async def _acquired(slots: asyncio.Semaphore, seconds: float, registry: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            await slots.acquire()
    except TimeoutError as error:
        raise Unavailable(f"too much is on its way from {registry}", retry_after=10) from error
    try:
        yield
    finally:
        slots.release()
