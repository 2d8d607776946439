"""Blobs of registries in S3, kept while somebody wants them; one replica at a time brings a blob there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic

from cachetools import TTLCache
from redis.asyncio import Redis

from registry_proxy.domain.link import Scope
from swell.errors import SwellError, Unavailable
from swell.log import log
from swell.oci.digest import Digest
from swell.store import keys
from swell.store.blobs import Blobs
from swell.store.leases import Leases

ANSWER_SECONDS = 2.0
AWAY_SECONDS = 10.0  # for which a store that did not answer is not asked again
LEASE = timedelta(seconds=30)
UPLOADS = 4


class BlobCache:
    """Blobs by the registry that sent them and their digest: a registry's repositories share what is stored.

    Asks a store that is slow or away for nothing, some seconds long: pulls go on without it.

    A blob that is used keeps being kept: its life of *days* begins anew when half of it is over.
    """

    def __init__(self, blobs: Blobs, redis: Redis, days: int) -> None:
        self._blobs = blobs
        self._leases = Leases(redis, LEASE)
        self._days = days
        self._away_until = 0.0
        self._slots = asyncio.Semaphore(UPLOADS)
        self._used: TTLCache[tuple[str, Digest], None] = TTLCache(100_000, ttl=3600)
        self._renewing: set[asyncio.Task[None]] = set()

    def of(self, registry: str) -> "RegistryBlobs":
        """What *registry* has sent. Another registry's readers do not find it: who only names a digest has not shown
        that their registry has the bytes."""
        return RegistryBlobs(self, self._blobs.below(_folder(registry)), registry)

    async def size(self, blobs: Blobs, registry: str, digest: Digest) -> int | None:
        if monotonic() < self._away_until:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                size = await blobs.size(digest)
        except (Unavailable, TimeoutError) as error:
            log.warning("blob cache away", error=str(error))
            self._away_until = monotonic() + AWAY_SECONDS
            return None
        if size is not None:
            self._renew(blobs, registry, digest)
        return size

    async def keep(self, registry: str, digest: Digest, path: Path) -> None:
        try:
            async with self._slots:
                await self._blobs.below(_folder(registry)).put_file(digest, path)
        except (SwellError, OSError) as error:
            log.warning("blob not kept", digest=digest, error=str(error))
        else:
            log.info("blob kept", digest=digest)

    async def claim(self, scope: Scope) -> AbstractAsyncContextManager[None] | None:
        try:
            return await self._leases.take(keys.blob_lease(scope.key))
        except Unavailable:
            return nullcontext()  # bringing it twice does no harm

    def _renew(self, blobs: Blobs, registry: str, digest: Digest) -> None:
        if (registry, digest) in self._used:
            return
        self._used[registry, digest] = None
        task = asyncio.create_task(self._renewed(blobs, digest))
        self._renewing.add(task)
        task.add_done_callback(self._renewing.discard)

    async def _renewed(self, blobs: Blobs, digest: Digest) -> None:
        with suppress(SwellError):
            await blobs.renew(digest, timedelta(days=self._days) / 2)


class RegistryBlobs:
    """What one registry has sent, in the cache."""

    def __init__(self, cache: BlobCache, blobs: Blobs, registry: str) -> None:
        self._cache = cache
        self._blobs = blobs
        self._registry = registry

    async def size(self, digest: Digest) -> int | None:
        return await self._cache.size(self._blobs, self._registry, digest)

    def link(self, digest: Digest) -> str | None:
        return self._blobs.link(digest)

    def open(self, digest: Digest, start: int, stop: int | None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._blobs.open(digest, start, stop)


def _folder(registry: str) -> str:
    """A key's part for `host:port`; no host has an underscore in its name, so that no two have the same."""
    return registry.translate(str.maketrans(":[]", "___"))
