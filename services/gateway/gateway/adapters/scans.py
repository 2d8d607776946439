"""Scans over Redis, NATS and the object store: running scanners, jobs, and stored reports."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from time import monotonic

from swell.jobs.messages import ScanJob
from swell.jobs.publish import publish
from swell.jobs.streams import Nats
from swell.store.objects import Objects
from swell.store.workers.engines import ScannerNames

CACHE_TTL = timedelta(seconds=10)


class RunningScanners:
    """Caches only that scanners run: a client that gets an error must see the current state."""

    def __init__(self, names: ScannerNames, clock: Callable[[], float] = monotonic) -> None:
        self._names = names
        self._clock = clock
        self._until = 0.0

    async def are_running(self) -> bool:
        """See `gateway.scans.request.Scanners`."""
        if self._clock() < self._until:
            return True
        if not await self._names.names():
            return False
        self._until = self._clock() + CACHE_TTL.total_seconds()
        return True


class ScanJobs:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def put(self, job: ScanJob) -> None:
        await publish(self._nats.stream, job)


class StoredReports:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        """See `gateway.scans.queries.Reports`."""
        if await self._objects.size(key) is None:
            return None
        return self._stored(key)

    async def _stored(self, key: str) -> AsyncIterator[bytes]:
        async with self._objects.open(key) as pieces:
            async for piece in pieces:
                yield piece
