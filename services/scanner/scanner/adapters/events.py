"""Publishes jobs and events of scans over NATS JetStream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.jobs.messages import SbomStored, ScanAffected, ScanDone, ScanJob
from swell.jobs.publish import is_queued, publish
from swell.jobs.streams import Nats
from swell.store import keys
from swell.store.leases import Leases


class ScanEvents:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def done(self, event: ScanDone) -> None:
        await publish(self._nats.stream, event)

    async def affected(self, event: ScanAffected) -> None:
        await publish(self._nats.stream, event)

    async def sbom_stored(self, event: SbomStored) -> None:
        await publish(self._nats.stream, event)


class ScanJobs:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def put(self, job: ScanJob) -> None:
        await publish(self._nats.stream, job)

    async def has(self, scan_id: str) -> bool:
        return await is_queued(self._nats.stream, ScanJob, scan_id)


class ScanLeases:
    """One scanner at a time works on a scan; a lease expires after *term* unless it is renewed."""

    def __init__(self, redis: Redis, term: timedelta) -> None:
        self._leases = Leases(redis, term)

    @asynccontextmanager
    async def hold(self, scan_id: str) -> AsyncIterator[None]:
        """Hold the lease of *scan_id* for the length of the block.

        Raises:
            Unavailable: another scanner holds it.
        """
        if (held := await self._leases.take(keys.scan_lease(scan_id))) is None:
            raise Unavailable(f"another scanner works on {scan_id}")
        async with held:
            yield
