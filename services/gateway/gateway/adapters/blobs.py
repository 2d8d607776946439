"""The object store for layers that requests contain."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from cachetools import TTLCache

from swell.oci.digest import parse_digest
from swell.store.blobs import Blobs

_CACHE_SIZE, _CACHE_SECONDS = 100_000, 300  # digests; a lifecycle rule of the store may delete a layer later
_RENEWED = timedelta(days=1)  # `swell.garbage` removes nothing that is younger than two days


class BlobStore:
    """Stores layers by their digests; a layer that the store already has is not sent again."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._stored: TTLCache[str, None] = TTLCache(_CACHE_SIZE, ttl=_CACHE_SECONDS)

    async def put_all(self, contents: Mapping[str, bytes]) -> None:
        """Store each content under its digest; when the call returns, all are stored."""
        await asyncio.gather(*(self._put(digest, content) for digest, content in contents.items()))

    async def _put(self, digest: str, content: bytes) -> None:
        if digest in self._stored:
            return
        if await self._blobs.size(parse_digest(digest)) is None:
            await self._blobs.put(parse_digest(digest), content)
        else:
            await self._blobs.renew(parse_digest(digest), _RENEWED)
        self._stored[digest] = None
