"""Blobs: content-addressed storage in a bucket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

from swell.errors import BlobUnknown, DigestInvalid, NotFound
from swell.oci.digest import Digest, digest_of
from swell.store.objects import Objects

CACHED = "cache/"
"""The prefix of blobs that can be fetched from a registry again, so they may be deleted at any time."""

DOCUMENTS = "documents/"
"""The prefix of manifests and configs that are too large for Redis."""


class Blobs:
    """A content-addressed store: the content of a digest never changes, and is stored once.

    Keys begin with *prefix*. Every method raises `Unavailable` when the store does not answer.
    """

    def __init__(self, objects: Objects, prefix: str = "") -> None:
        self._objects = objects
        self._prefix = prefix

    def below(self, folder: str) -> Self:
        """Return a view of the store whose keys begin with *folder* in addition."""
        return type(self)(self._objects, f"{self._prefix}{folder}/")

    async def put(self, digest: Digest, content: bytes) -> None:
        """Store *content*.

        Raises:
            DigestInvalid: *content* has another digest.
        """
        if digest_of(content) != digest:
            raise DigestInvalid(f"the content to store as {digest} has another digest")
        await self._objects.put(self._key(digest), content)

    async def put_file(self, digest: Digest, path: Path) -> None:
        """Store the file at *path*, whose digest the caller has verified."""
        await self._objects.put_file(self._key(digest), path)

    async def size(self, digest: Digest) -> int | None:
        """Return the size in bytes; None when the blob is missing."""
        return await self._objects.size(self._key(digest))

    @asynccontextmanager
    async def open(
        self, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the blob: yields bytes from *start* to before *stop* in pieces of about 1 MiB, inside the block.

        Raises:
            BlobUnknown: the blob is missing.
        """
        try:
            async with self._objects.open(self._key(digest), start, stop) as pieces:
                yield pieces
        except NotFound as error:
            raise BlobUnknown(f"{digest} is not stored here") from error

    @asynccontextmanager
    async def download(self, digest: Digest, folder: Path) -> AsyncIterator[Path]:
        """Download the blob to a file in *folder* without a name, so that a crash leaves nothing; yield its path.

        Only this process can open the path, inside the block.

        Raises:
            BlobUnknown: the blob is missing.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryFile(dir=folder) as file:
            async with self.open(digest) as pieces:
                async for piece in pieces:
                    file.write(piece)
            file.flush()
            yield Path(f"/proc/self/fd/{file.fileno()}")

    def link(self, digest: Digest) -> str | None:
        """Return a URL for clients, valid for 15 minutes; None when clients cannot reach the store."""
        return self._objects.link(self._key(digest))

    async def renew(self, digest: Digest, age: timedelta) -> None:
        """Reset the age of a blob that is older than *age*, so that it expires later."""
        await self._objects.renew(self._key(digest), age)

    def _key(self, digest: Digest) -> str:
        return self._prefix + key_of(digest)


def key_of(digest: Digest) -> str:
    """Return the key of *digest* without a prefix: `sha256/<hex>`."""
    return digest.replace(":", "/")
