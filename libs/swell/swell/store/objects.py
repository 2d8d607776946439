"""Objects: bytes by key, in S3 (`swell.store.s3_objects`) or in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

from swell.errors import NotFound
from swell.net.outbound import PIECE

ANY_TYPE = "application/octet-stream"


class Objects(Protocol):
    """Bytes by key. A put is atomic. Every method raises `Unavailable` when the store does not answer."""

    async def put(self, key: str, content: bytes, media_type: str = ANY_TYPE) -> None: ...

    async def put_file(self, key: str, path: Path, media_type: str = ANY_TYPE) -> None: ...

    async def get(self, key: str) -> bytes | None:
        """Return the whole object, for small ones; None when it is missing."""

    async def size(self, key: str) -> int | None:
        """Return the size in bytes; None when the object is missing."""

    def open(
        self, key: str, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the object: yields bytes from *start* to before *stop* in pieces of about 1 MiB, inside the block.

        Raises:
            NotFound: the object is missing.
        """

    def link(self, key: str) -> str | None:
        """Return a URL of the object, valid for 15 minutes; None when clients cannot reach the store."""

    async def renew(self, key: str, age: timedelta) -> None:
        """Reset the age of an object that is older than *age*; do nothing when it is missing."""


class StoredObject(NamedTuple):
    """An object: its key, its size in bytes, and when it was stored (UTC)."""

    key: str
    size: int
    modified: datetime


class MemoryObjects:
    """The memory twin of `S3Objects`."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    async def put(self, key: str, content: bytes, media_type: str = ANY_TYPE) -> None:  # noqa: ARG002
        self._contents[key] = content

    async def put_file(self, key: str, path: Path, media_type: str = ANY_TYPE) -> None:  # noqa: ARG002
        self._contents[key] = await asyncio.to_thread(path.read_bytes)

    async def get(self, key: str) -> bytes | None:
        return self._contents.get(key)

    async def size(self, key: str) -> int | None:
        return len(self._contents[key]) if key in self._contents else None

    @asynccontextmanager
    async def open(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        if key not in self._contents:
            raise NotFound(f"object {key} does not exist")
        yield slices(self._contents[key][start:stop])

    def link(self, key: str) -> str | None:  # noqa: ARG002
        return None

    async def renew(self, key: str, age: timedelta) -> None:
        """Do nothing: objects in memory do not expire."""


async def slices(content: bytes) -> AsyncIterator[bytes]:
    """Yield *content* in pieces of at most 1 MiB."""
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]
