"""The names of the engines that build container files, and of scanners; each worker publishes its own regularly."""

from datetime import timedelta

from redis.asyncio import Redis

from swell.store import keys
from swell.store.workers.expiring_set import ExpiringSet

LIFE = timedelta(minutes=2)


class EngineNames:
    """Names expire *life* after they were last published.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis, life: timedelta = LIFE) -> None:
        self._names = ExpiringSet(redis, keys.ENGINE_NAMES, life)

    async def publish(self, name: str) -> None:
        """Publish the *name* and version of a builder's engine, such as `buildkit 0.34.2`."""
        await self._names.add(name)

    async def names(self) -> list[str]:
        """Return the engines of all builders, each once, at most 100."""
        return sorted(await self._names.entries())


class ScannerNames:
    """Names and versions of scanners, which expire *life* after they were last published.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis, life: timedelta = LIFE) -> None:
        self._names = ExpiringSet(redis, keys.SCANNER_NAMES, life)

    async def publish(self, name: str) -> None:
        """Publish the *name* of a scanner, such as `syft 1.57.1, grype 0.121.3`."""
        await self._names.add(name)

    async def names(self) -> list[str]:
        """Return the names of all running scanners, each once, at most 100."""
        return sorted(await self._names.entries())
