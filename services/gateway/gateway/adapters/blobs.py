"""Keeping the layers that came inside a request."""

import asyncio
from collections.abc import Mapping

from swell.oci.digest import parse_digest
from swell.store.blobs import Blobs


class BlobStore:
    """Content-addressed, so what is there already need not be sent again."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def keep(self, contents: Mapping[str, bytes]) -> None:
        await asyncio.gather(*(self._keep(digest, content) for digest, content in contents.items()))

    async def _keep(self, digest: str, content: bytes) -> None:
        if await self._blobs.size(parse_digest(digest)) is None:
            await self._blobs.put(parse_digest(digest), content)
