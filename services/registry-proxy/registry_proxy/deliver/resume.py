"""Reading a blob from one place in spite of it: what breaks off, stalls or drips is taken up again at the same byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from registry_proxy.deliver.transfer import Body, Redirect
from registry_proxy.domain.ranges import Span
from swell.disk import in_thread
from swell.errors import Unavailable, UpstreamFailed
from swell.log import log
from swell.registry.verifier import Verifier

PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)  # seconds before each new try where a transfer broke off
PROGRESS = 1 << 20  # bytes since the last new try, after which the tries are counted anew


class BlobSource(Protocol):
    """Where one blob can be read."""

    def open(self, span: Span) -> AbstractAsyncContextManager[Redirect | Body]: ...


@asynccontextmanager
async def opened(place: BlobSource, span: Span) -> AsyncIterator[Redirect | Body]:
    """The bytes of *span* at *place*; where they break off they are taken up again, at most five times a MiB.

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


async def _resuming(first: Body, place: BlobSource, span: Span, connection: AsyncExitStack) -> AsyncIterator[bytes]:
    at, last, pauses, found = span.start, span.start, iter(PAUSES), first
    while True:
        try:
            async for piece in found.pieces:
                at += len(piece)
                yield piece
            return
        except (UpstreamFailed, Unavailable) as error:
            if at - last >= PROGRESS:
                pauses = iter(PAUSES)
            last, pause = at, next(pauses, None)
            if pause is None or at >= span.stop:
                raise
            log.info("blob broken off, taken up again", at=at, of=span.stop, error=str(error))
        await connection.aclose()
        await asyncio.sleep(pause)
        found = Body(_rest(place, Span(at, span.stop), connection))


async def _rest(place: BlobSource, span: Span, connection: AsyncExitStack) -> AsyncIterator[bytes]:
    found = await connection.enter_async_context(place.open(span))
    if isinstance(found, Redirect):
        raise UpstreamFailed("the blob has moved while it was read")
    async for piece in found.pieces:
        yield piece


async def verified_pieces(pieces: AsyncIterator[bytes], verifier: Verifier) -> AsyncIterator[bytes]:
    """*pieces*, of which the last is held back until *verifier* has found all of them right.

    Raises:
        UpstreamFailed: they are not; a reader never gets the whole of something wrong.
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
