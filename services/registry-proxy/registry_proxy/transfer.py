"""A blob on its way here: fetched once, verified, and read meanwhile by any number of clients."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from msgspec import Struct

from registry_proxy.domain.ranges import Span
from swell.disk import in_thread
from swell.errors import SwellError, Unavailable, UpstreamFailed
from swell.log import log
from swell.registry.verifier import Verifier

HELD_BACK = 64 << 10  # bytes at the end that nobody gets before all were verified
AT_ONCE = 64 << 10  # bytes that are hashed sooner than a thread is woken: the first ones are few
PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)  # seconds before each new try where a transfer broke off


class Redirect(Struct, frozen=True):
    """The bytes are somewhere else, where whoever asks may fetch them without credentials."""

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


class Held(Struct, frozen=True):
    """The bytes as they are on this machine's disk, or arrive there."""

    extents: AsyncIterator[Extent]


class Place(Protocol):
    """Where one blob can be had."""

    def open(self, span: Span) -> AbstractAsyncContextManager[Redirect | Body]: ...


class File(Protocol):
    """A blob's place on this machine's disk, which is open in the blocks of `held`."""

    def held(self) -> AbstractContextManager[None]: ...

    def write(self, piece: bytes) -> None:
        """Append *piece*; blocks. Raises `Unavailable` when the disk takes no more."""

    def extent(self, span: Span) -> Extent:
        """Where *span* is, while the file is held; it must have been written."""


class Transfer:
    """What has arrived of a blob of *size* bytes in *file*, and who reads it.

    *forsaken* is called when the last reader has gone before everything is here; `readers` tells whether one came back.
    """

    def __init__(self, file: File, size: int, forsaken: Callable[["Transfer"], None]) -> None:
        self.readers = 0
        self.arrived = 0
        self.is_whole = False
        self._file = file
        self._size = size
        self._forsaken = forsaken
        self._outcome: Redirect | SwellError | None = None
        self._news = asyncio.Event()

    async def take(self, pieces: AsyncIterator[bytes], verifier: Verifier) -> None:
        """Write *pieces* down; hashing and writing big ones is a thread's work, so that bytes go on flowing meanwhile.

        Raises:
            UpstreamFailed: they break off, or are not what *verifier* waits for.
            Unavailable: the disk takes no more.
        """
        async for piece in pieces:
            few = 0 if self.arrived else AT_ONCE  # clients get the first bytes before the many behind them are hashed
            for part in filter(None, (piece[:few], piece[few:])):
                await self._arrive(part, verifier)
        verifier.finish()
        self.is_whole = True
        self._tell()

    def end(self, outcome: Redirect | SwellError) -> None:
        """Nothing more will come, for that reason; the bytes may be elsewhere."""
        self._outcome = outcome
        self._tell()

    @asynccontextmanager
    async def joined(self, span: Span) -> AsyncIterator[Redirect | Held]:
        """The bytes of *span* as they arrive, entered when the first of them is here; read inside the block.

        Raises:
            SwellError: what ended the transfer.
        """
        self.readers += 1
        try:
            with self._file.held():
                while not (self.is_whole or self._readable > span.start or isinstance(self._outcome, Redirect)):
                    await self._change()
                if isinstance(self._outcome, Redirect):
                    yield self._outcome
                else:
                    yield Held(self._extents(span))
        finally:
            self.readers -= 1
            if not (self.readers or self.is_whole or self._outcome):
                self._forsaken(self)

    @property
    def _readable(self) -> int:
        return self._size if self.is_whole else min(self.arrived, self._size - HELD_BACK)

    async def _extents(self, span: Span) -> AsyncIterator[Extent]:
        at = span.start
        while at < span.stop:
            if (stop := min(self._readable, span.stop)) > at:
                yield self._file.extent(Span(at, stop))
                at = stop
            else:
                await self._change()

    async def _arrive(self, piece: bytes, verifier: Verifier) -> None:
        if len(piece) <= AT_ONCE:
            self._write(piece, verifier)
        else:
            await in_thread(self._write, piece, verifier)
        self.arrived += len(piece)
        self._tell()

    def _write(self, piece: bytes, verifier: Verifier) -> None:
        verifier.update(piece)
        self._file.write(piece)

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _change(self) -> None:
        """Wait until there is more to read."""
        if isinstance(self._outcome, SwellError):
            raise self._outcome
        await self._news.wait()


@asynccontextmanager
async def opened(place: Place, span: Span) -> AsyncIterator[Redirect | Body]:
    """The bytes of *span* at *place*; where they break off they are taken up again, some times.

    Raises:
        UpstreamFailed: the place has another number of bytes.
    """
    async with AsyncExitStack() as connection:
        found = await connection.enter_async_context(place.open(span))
        if isinstance(found, Body):
            if found.size not in {None, span.length}:
                raise UpstreamFailed(f"there are {found.size} bytes upstream instead of {span.length}")
            found = Body(_resuming(found, place, span, connection), span.length)
        yield found


async def _resuming(first: Body, place: Place, span: Span, connection: AsyncExitStack) -> AsyncIterator[bytes]:
    at, found = span.start, first
    for pause in (*PAUSES, None):
        try:
            async for piece in found.pieces:
                at += len(piece)
                yield piece
            return
        except (UpstreamFailed, Unavailable) as error:
            if pause is None or at >= span.stop:
                raise
            log.info("blob broken off, taken up again", at=at, of=span.stop, error=str(error))
        await connection.aclose()
        await asyncio.sleep(pause)
        found = Body(_rest(place, Span(at, span.stop), connection))


async def _rest(place: Place, span: Span, connection: AsyncExitStack) -> AsyncIterator[bytes]:
    found = await connection.enter_async_context(place.open(span))
    if isinstance(found, Redirect):
        raise UpstreamFailed("the blob has moved while it was read")
    async for piece in found.pieces:
        yield piece


async def checked(pieces: AsyncIterator[bytes], verifier: Verifier) -> AsyncIterator[bytes]:
    """*pieces*, of which the last is kept back until *verifier* has found all of them right.

    Raises:
        UpstreamFailed: they are not; whoever reads never holds the whole of something wrong.
    """
    last = b""
    async for piece in pieces:
        await in_thread(verifier.update, piece)
        if verifier.is_full:
            last += piece
        else:
            yield piece
    verifier.finish()
    if last:
        yield last
