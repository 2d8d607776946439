"""A blob on its way here: fetched once, verified, and read meanwhile by any number of clients."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Protocol

from msgspec import Struct

from registry_proxy.domain.ranges import Span
from swell.disk import in_thread
from swell.errors import SwellError
from swell.registry.verifier import Verifier

HELD_BACK = 64 << 10  # bytes at the end that no reader gets before all were verified
AT_ONCE = 64 << 10  # bytes that are hashed sooner than a thread is woken: the first ones are few


class Redirect(Struct, frozen=True):
    """The bytes are somewhere else, where the client may fetch them without credentials."""

    url: str


class Body(Struct, frozen=True):
    """The bytes in pieces, and how many the other side says there are."""

    pieces: AsyncIterator[bytes]
    size: int | None = None


class Extent(Struct, frozen=True):
    """Bytes of an open file, from `start` to before `stop`."""

    descriptor: int
    start: int
    stop: int


class FileBody(Struct, frozen=True):
    """The bytes as they are on this machine's disk, or arrive there; those for which the disk has no room come as they
    are."""

    extents: AsyncIterator[Extent | bytes]


class File(Protocol):
    """A blob's place on this machine's disk, which is open in the blocks of `held`."""

    def held(self) -> AbstractContextManager[None]: ...

    def reserve(self, count: int) -> None:
        """Have room for *count* more bytes. Raises `SpoolFull` when there is none."""

    def write(self, piece: bytes) -> None:
        """Append *piece*, for which there is room; blocks. Raises `Unavailable` when the disk takes no more."""

    def extent(self, span: Span) -> Extent:
        """Where *span* is, while the file is held; it must have been written."""


class Transfer:
    """What has arrived of a blob of *size* bytes in *file*, and who reads it.

    *forsaken* is called when the last reader has left before everything is here; `readers` says whether one came back.
    """

    def __init__(self, file: File, size: int, forsaken: Callable[["Transfer"], None]) -> None:
        self.readers = 0
        self.arrived = 0
        self.is_whole = False
        self.file = file
        self.size = size
        self.verifier: Verifier | None = None
        """Has seen the bytes that have arrived, once the transfer has ended early."""
        self._forsaken = forsaken
        self._outcome: Redirect | SwellError | None = None
        self._change = asyncio.Event()

    async def take(self, pieces: AsyncIterator[bytes], verifier: Verifier) -> None:
        """Write *pieces*; a thread hashes and writes big ones, so that bytes flow on meanwhile.

        Raises:
            UpstreamFailed: they break off, or are not what *verifier* expects.
            SpoolFull, Unavailable: the disk takes no more.
        """
        self.verifier = verifier
        async for piece in pieces:
            few = 0 if self.arrived else AT_ONCE  # clients get the first bytes before the many behind them are hashed
            for part in filter(None, (piece[:few], piece[few:])):
                await self._arrive(part, verifier)
        verifier.finish()
        self.is_whole = True
        self._notify()

    def end(self, outcome: Redirect | SwellError) -> None:
        """Nothing more will come, for that reason; the bytes may be elsewhere."""
        self._outcome = outcome
        self._notify()

    @asynccontextmanager
    async def joined(self, at: int) -> AsyncIterator[Redirect | None]:
        """Read inside the block, which is entered when the byte *at* is here, or is known to be elsewhere.

        Raises:
            SwellError: what ended the transfer.
        """
        self.readers += 1
        try:
            with self.file.held():
                while not (self.is_whole or self._readable > at or isinstance(self._outcome, Redirect)):
                    await self._changed()
                yield self._outcome if isinstance(self._outcome, Redirect) else None
        finally:
            self.readers -= 1
            if not (self.readers or self.is_whole or self._outcome):
                self._forsaken(self)

    async def extents(self, span: Span) -> AsyncIterator[Extent]:
        """Where the bytes of *span* are, as they arrive, for who has joined.

        Raises:
            SwellError: what ended the transfer before that.
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
        if len(piece) <= AT_ONCE:
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
        """Wait until there is more to read."""
        if isinstance(self._outcome, SwellError):
            raise self._outcome
        await self._change.wait()
