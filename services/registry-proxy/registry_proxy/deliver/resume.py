"""Read a blob from one source; after a broken or slow connection, resume at the same byte."""

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

PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)  # seconds before each retry
PROGRESS = 1 << 20  # bytes since the last retry that reset the number of retries


class BlobSource(Protocol):
    """A source of one blob's bytes."""

    def open(self, span: Span) -> AbstractAsyncContextManager[Redirect | Body]: ...


@asynccontextmanager
async def open_resuming(source: BlobSource, span: Span) -> AsyncIterator[Redirect | Body]:
    """Open *span* of *source*; a broken read resumes at the same byte, at most five times per MiB.

    Raises:
        UpstreamFailed: the source declares another number of bytes.
    """
    async with AsyncExitStack() as connection:
        response = await connection.enter_async_context(source.open(span))
        if isinstance(response, Body):
            if response.size not in {None, span.length}:
                raise UpstreamFailed(f"the registry has {response.size} bytes instead of {span.length}")
            response = Body(_resuming(response, source, span, connection), span.length)
        yield response


async def _resuming(first: Body, source: BlobSource, span: Span, connection: AsyncExitStack) -> AsyncIterator[bytes]:
    at, last, pauses, response = span.start, span.start, iter(PAUSES), first
    while True:
        try:
            async for piece in response.pieces:
                at += len(piece)
                yield piece
            return
        except (UpstreamFailed, Unavailable) as error:
            if at - last >= PROGRESS:
                pauses = iter(PAUSES)
            last, pause = at, next(pauses, None)
            if pause is None or at >= span.stop:
                raise
            log.info("blob read resumed", at=at, stop=span.stop, error=str(error))
        await connection.aclose()
        await asyncio.sleep(pause)
        response = Body(_open_rest(source, Span(at, span.stop), connection))


async def _open_rest(source: BlobSource, span: Span, connection: AsyncExitStack) -> AsyncIterator[bytes]:
    response = await connection.enter_async_context(source.open(span))
    if isinstance(response, Redirect):
        raise UpstreamFailed("the registry redirected the blob while it was read")
    async for piece in response.pieces:
        yield piece


async def verified_pieces(pieces: AsyncIterator[bytes], verifier: Verifier) -> AsyncIterator[bytes]:
    """Yield *pieces*; hold the last one back until *verifier* accepts the whole.

    Raises:
        UpstreamFailed: the digest or the size is wrong. The reader never gets all bytes of a wrong blob.
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
