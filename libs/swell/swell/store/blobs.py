"""Blobs: content by its digest, in a bucket. The same bytes are kept once, whoever put them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from swell.errors import BlobUnknown, DigestInvalid, NotFound
from swell.oci.digest import Digest, digest_of
from swell.store.objects import Objects

BUCKET = "swell-layers"


class Blobs:
    """A content-addressed store: what is under a digest never changes, so putting it twice does nothing new.

    Every method raises `Unavailable` when the store is away.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def put(self, digest: Digest, content: bytes) -> None:
        """Keep *content*; raises `DigestInvalid` when *digest* is not its name."""
        if digest_of(content) != digest:
            raise DigestInvalid(f"the content to keep as {digest} has another digest")
        await self._objects.put(key_of(digest), content)

    async def put_file(self, digest: Digest, path: Path) -> None:
        """Keep the file at *path*, whose digest the caller has checked while writing it."""
        await self._objects.put_file(key_of(digest), path)

    async def size(self, digest: Digest) -> int | None:
        """In bytes; None when it is not kept here."""
        return await self._objects.size(key_of(digest))

    @asynccontextmanager
    async def open(self, digest: Digest) -> AsyncIterator[AsyncIterator[bytes]]:
        """The blob in pieces of about 1 MiB, to be read in the block; raises `BlobUnknown` when it is not kept."""
        try:
            async with self._objects.open(key_of(digest)) as pieces:
                yield pieces
        except NotFound as error:
            raise BlobUnknown(f"{digest} is not kept here") from error


def key_of(digest: Digest) -> str:
    """The key of *digest*: `sha256/<hex>`."""
    return digest.replace(":", "/")
