"""A cache in S3 of blobs from registries; one replica at a time uploads a blob."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Self

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
OUTAGE_SECONDS = 10.0  # without requests to a store that did not respond
LEASE = timedelta(seconds=30)
UPLOADS = 4


class BlobCache:
    """Blobs by registry and digest: all repositories of a registry share the stored blobs.

    If the store is slow or unavailable, pulls continue without it for ten seconds.

    A blob expires *days* days after its last use; a use in the second half of that time renews it.

    Renewals run inside the block of this context manager.
    """

    def __init__(self, blobs: Blobs, redis: Redis, days: int) -> None:
        self._blobs = blobs
        self._leases = Leases(redis, LEASE)
        self._days = days
        self._retry_at = 0.0
        self._slots = asyncio.Semaphore(UPLOADS)
        self._renewed: TTLCache[tuple[str, Digest], None] = TTLCache(100_000, ttl=3600)
        self._renewals = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._renewals.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._renewals.__aexit__(None, None, None)

    def for_registry(self, registry: str) -> "RegistryBlobs":
        """Return the cached blobs of *registry*. They never serve another registry: a digest alone proves no access."""
        return RegistryBlobs(self, self._blobs.below(_folder(registry)), registry)

    async def size(self, blobs: Blobs, registry: str, digest: Digest) -> int | None:
        if monotonic() < self._retry_at:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                size = await blobs.size(digest)
        except (Unavailable, TimeoutError) as error:
            log.warning("blob cache unavailable", error=str(error))
            self._retry_at = monotonic() + OUTAGE_SECONDS
            return None
        if size is not None:
            self._renew(blobs, registry, digest)
        return size

    async def store(self, registry: str, digest: Digest, path: Path) -> None:
        try:
            async with self._slots:
                await self._blobs.below(_folder(registry)).put_file(digest, path)
        except (SwellError, OSError) as error:
            log.warning("blob not cached", digest=digest, error=str(error))
        else:
            log.info("blob cached", digest=digest)

    async def lease(self, scope: Scope) -> AbstractAsyncContextManager[None] | None:
        try:
            return await self._leases.take(keys.blob_lease(scope.key))
        except Unavailable:
            return nullcontext()  # two uploads of one blob are harmless

    def _renew(self, blobs: Blobs, registry: str, digest: Digest) -> None:
        if (registry, digest) in self._renewed:
            return
        self._renewed[registry, digest] = None
        self._renewals.create_task(self._renew_expiry(blobs, digest))

    async def _renew_expiry(self, blobs: Blobs, digest: Digest) -> None:
        try:
            await blobs.renew(digest, timedelta(days=self._days) / 2)
        except SwellError as error:
            log.info("blob not renewed", digest=digest, error=str(error))
        except Exception:  # noqa: BLE001 (top of a task: an error must not end the service)
            log.exception("blob not renewed", digest=digest)


class RegistryBlobs:
    """The cached blobs of one registry."""

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
    """Return the key segment for `host:port`. Host names have no underscore, so segments are unique."""
    return registry.translate(str.maketrans(":[]", "___"))
