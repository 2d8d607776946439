"""Keeping the layers that came inside a request."""

import asyncio
from collections.abc import Mapping

from cachetools import TTLCache

from swell.oci.digest import parse_digest
from swell.store.blobs import Blobs


class BlobStore:
    """Content-addressed, so what is there already need not be sent again; nor asked for, for some minutes.

    A lifecycle rule may remove a layer from the store, hence the minutes.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._kept: TTLCache[str, None] = TTLCache(100_000, ttl=300)

    async def keep(self, contents: Mapping[str, bytes]) -> None:
        await asyncio.gather(*(self._keep(digest, content) for digest, content in contents.items()))

    async def _keep(self, digest: str, content: bytes) -> None:
        if digest in self._kept:
            return
        if await self._blobs.size(parse_digest(digest)) is None:
            await self._blobs.put(parse_digest(digest), content)
        self._kept[digest] = None
