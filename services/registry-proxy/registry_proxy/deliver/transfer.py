"""A transfer: one blob fetched once, verified, and read by any number of clients while it arrives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Protocol

from msgspec import Struct

from registry_proxy.domain.ranges import Span
from swell.disk import in_thread
from swell.errors import SwellError
from swell.registry.verifier import Verifier

HELD_BACK = 64 << 10  # last bytes; readers get them only after the whole blob is verified
INLINE_BYTES = 64 << 10  # pieces up to this size are hashed faster here than in a thread


class Redirect(Struct, frozen=True):
    """The bytes are at another URL, which the client fetches without credentials."""

    url: str


class Body(Struct, frozen=True):
    """The bytes in pieces; `size` is the declared length in bytes, None if unknown."""

    pieces: AsyncIterator[bytes]
    size: int | None = None


class Extent(Struct, frozen=True):
    """Bytes of an open file, from `start` to before `stop`."""

    descriptor: int
    start: int
    stop: int


class FileBody(Struct, frozen=True):
    """The bytes as extents of a file on the local disk; as plain bytes where the disk has no space for them."""

    extents: AsyncIterator[Extent | bytes]


class BlobFile(Protocol):
    """A blob's file on the local disk. It is open inside the blocks of `opened`."""

    def opened(self) -> AbstractContextManager[None]: ...

    def reserve(self, count: int) -> None:
        """Reserve disk space for *count* more bytes. Raises `SpoolFull` if the spool has no space."""

    def write(self, piece: bytes) -> None:
        """Append *piece*, for which space is reserved; blocks. Raises `Unavailable` if the write fails."""

    def extent(self, span: Span) -> Extent:
        """Return the extent of *span* while the file is open; its bytes must be written."""


class Transfer:
    """The bytes of a blob of *size* bytes that have arrived in *file*, and the number of its readers.

    *on_idle* is called when the last reader leaves an incomplete transfer.
    """

    def __init__(self, file: BlobFile, size: int, on_idle: Callable[["Transfer"], None]) -> None:
        self.readers = 0
        self.arrived = 0
        self.is_whole = False
        self.file = file
        self.size = size
        self.verifier: Verifier | None = None
        """Its state after the bytes that have arrived, for a transfer that ended early."""
        self._on_idle = on_idle
        self._result: Redirect | SwellError | None = None
        self._change = asyncio.Event()

    async def receive(self, pieces: AsyncIterator[bytes], verifier: Verifier) -> None:
        """Write and hash *pieces*; a thread handles the large ones while the event loop goes on.

        Raises:
            UpstreamFailed: the pieces end early, or *verifier* rejects them.
            SpoolFull, Unavailable: the disk is full.
        """
        self.verifier = verifier
        async for piece in pieces:
            first = 0 if self.arrived else INLINE_BYTES  # readers get the first bytes before the rest is hashed
            for part in filter(None, (piece[:first], piece[first:])):
                await self._arrive(part, verifier)
        verifier.finish()
        self.is_whole = True
        self._notify()

    def end(self, result: Redirect | SwellError) -> None:
        """End the transfer early: with the redirect to the bytes, or with the error that stopped it."""
        self._result = result
        self._notify()

    @asynccontextmanager
    async def joined(self, at: int) -> AsyncIterator[Redirect | None]:
        """Register a reader for the block. Enter it when the byte *at* has arrived, or yield a redirect.

        Raises:
            SwellError: the transfer failed.
        """
        self.readers += 1
        try:
            with self.file.opened():
                while not (self.is_whole or self._readable > at or isinstance(self._result, Redirect)):
                    await self._changed()
                yield self._result if isinstance(self._result, Redirect) else None
        finally:
            self.readers -= 1
            if not (self.readers or self.is_whole or self._result):
                self._on_idle(self)

    async def extents(self, span: Span) -> AsyncIterator[Extent]:
        """Yield the extents of *span* as their bytes arrive; call it inside `joined`.

        Raises:
            SwellError: the transfer failed before the end of *span*.
        """
        at = span.start
        while at < span.stop:
            if (stop := min(self._readable, span.stop)) > at:
                yield self.file.extent(Span(at, stop))
                at = stop
            else:
                await self._changed()

    @property
    def _readable(self) -> int:
        return self.size if self.is_whole else min(self.arrived, self.size - HELD_BACK)

    async def _arrive(self, piece: bytes, verifier: Verifier) -> None:
        self.file.reserve(len(piece))
        if len(piece) <= INLINE_BYTES:
            self._write(piece, verifier)
        else:
            await in_thread(self._write, piece, verifier)
        self.arrived += len(piece)
        self._notify()

    def _write(self, piece: bytes, verifier: Verifier) -> None:
        verifier.update(piece)
        self.file.write(piece)

    def _notify(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def _changed(self) -> None:
        """Wait until more bytes arrive or the transfer ends."""
        if isinstance(self._result, SwellError):
            raise self._result
        await self._change.wait()
