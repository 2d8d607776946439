"""Blobs of registries in S3, kept while somebody wants them; one replica at a time brings a blob there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic

from cachetools import TTLCache
from redis.asyncio import Redis

from swell.errors import SwellError, Unavailable
from swell.log import log
from swell.oci.digest import Digest
from swell.store.blobs import Blobs
from swell.store.leases import Leases

ANSWER_SECONDS = 2.0
AWAY_SECONDS = 10.0  # for which a store that did not answer is not asked again
LEASE = timedelta(seconds=30)
UPLOADS = 4


class BlobCache:
    """Asks a store that is slow or away for nothing, some seconds long: pulls go on without it.

    A blob that is used keeps being kept: its life of *days* begins anew when half of it is over.
    """

    def __init__(self, blobs: Blobs, redis: Redis, days: int) -> None:
        self._blobs = blobs
        self._leases = Leases(redis, LEASE)
        self._days = days
        self._away_until = 0.0
        self._slots = asyncio.Semaphore(UPLOADS)
        self._used: TTLCache[Digest, None] = TTLCache(100_000, ttl=3600)
        self._renewing: set[asyncio.Task[None]] = set()

    async def size(self, digest: Digest) -> int | None:
        if monotonic() < self._away_until:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                size = await self._blobs.size(digest)
        except (Unavailable, TimeoutError) as error:
            log.warning("blob cache away", error=str(error))
            self._away_until = monotonic() + AWAY_SECONDS
            return None
        if size is not None:
            self._renew(digest)
        return size

    def link(self, digest: Digest) -> str | None:
        return self._blobs.link(digest)

    def open(self, digest: Digest, start: int, stop: int | None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._blobs.open(digest, start, stop)

    async def keep(self, digest: Digest, path: Path) -> None:
        try:
            async with self._slots:
                await self._blobs.put_file(digest, path)
        except (SwellError, OSError) as error:
            log.warning("blob not kept", digest=digest, error=str(error))
        else:
            log.info("blob kept", digest=digest)

    async def claim(self, digest: Digest) -> AbstractAsyncContextManager[None] | None:
        try:
            return await self._leases.take(f"swell:blob:{digest}")
        except Unavailable:
            return nullcontext()  # bringing it twice does no harm

    def _renew(self, digest: Digest) -> None:
        if digest in self._used:
            return
        self._used[digest] = None
        task = asyncio.create_task(self._renewed(digest))
        self._renewing.add(task)
        task.add_done_callback(self._renewing.discard)

    async def _renewed(self, digest: Digest) -> None:
        with suppress(SwellError):
            await self._blobs.renew(digest, timedelta(days=self._days) / 2)
