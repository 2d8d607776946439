"""Blobs: content by its digest, in a bucket. The same bytes are kept once, whoever put them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self

from swell.errors import BlobUnknown, DigestInvalid, NotFound
from swell.oci.digest import Digest, digest_of
from swell.store.objects import Objects

BUCKET = "swell-layers"
CACHED = "cache/"
"""The prefix of blobs that registries have as well: they may go at any time."""

DOCUMENTS = "documents/"
"""The prefix of manifests and configs that are too large for Redis."""


class Blobs:
    """A content-addressed store: what is under a digest never changes, so putting it twice does nothing new.

    Keys begin with *prefix*. Every method raises `Unavailable` when the store is away.
    """

    def __init__(self, objects: Objects, prefix: str = "") -> None:
        self._objects = objects
        self._prefix = prefix

    def below(self, folder: str) -> Self:
        """The same store, its keys one level deeper."""
        return type(self)(self._objects, f"{self._prefix}{folder}/")

    async def put(self, digest: Digest, content: bytes) -> None:
        """Keep *content*; raises `DigestInvalid` when *digest* is not its name."""
        if digest_of(content) != digest:
            raise DigestInvalid(f"the content to keep as {digest} has another digest")
        await self._objects.put(self._key(digest), content)

    async def put_file(self, digest: Digest, path: Path) -> None:
        """Keep the file at *path*, whose digest the caller has checked while writing it."""
        await self._objects.put_file(self._key(digest), path)

    async def size(self, digest: Digest) -> int | None:
        """In bytes; None when it is not kept here."""
        return await self._objects.size(self._key(digest))

    @asynccontextmanager
    async def open(
        self, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The blob's bytes from *start* to before *stop* in pieces of about 1 MiB, to be read in the block.

        Raises:
            BlobUnknown: it is not kept.
        """
        try:
            async with self._objects.open(self._key(digest), start, stop) as pieces:
                yield pieces
        except NotFound as error:
            raise BlobUnknown(f"{digest} is not kept here") from error

    def link(self, digest: Digest) -> str | None:
        """Where clients can fetch it, for a quarter of an hour; None when they do not reach the store."""
        return self._objects.link(self._key(digest))

    async def renew(self, digest: Digest, age: timedelta) -> None:
        """Have a blob that is older than *age* count as new, so that its life begins again."""
        await self._objects.renew(self._key(digest), age)

    def _key(self, digest: Digest) -> str:
        return self._prefix + key_of(digest)


def key_of(digest: Digest) -> str:
    """The key of *digest*, without a prefix: `sha256/<hex>`."""
    return digest.replace(":", "/")
