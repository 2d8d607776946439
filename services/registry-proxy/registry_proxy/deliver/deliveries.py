"""Delivering a blob that a link allows, without a byte under a wrong digest.

Stored bytes are found by the registry that sent them, and are served only on a proof that the link's principal may read
the blob in the link's repository. Transfers are shared within registry, repository and principal.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol, Self, TypeVar

from registry_proxy.deliver import shared_transfers
from registry_proxy.deliver.resume import BlobSource, opened, verified_pieces
from registry_proxy.deliver.shared_transfers import IDLE_LIFETIME, Transfers, have_same_bytes
from registry_proxy.deliver.sources import Cache, RegistrySource, Store, StoreSource, Upstream, check_size
from registry_proxy.deliver.transfer import Body, Extent, FileBody, Redirect, Transfer
from registry_proxy.domain.link import Link, Origin
from registry_proxy.domain.ranges import Span
from registry_proxy.slots import TransferSlots
from swell.errors import BlobUnknown, DigestMismatch, SpoolFull, TooManyRequests, Unavailable, UpstreamFailed
from swell.log import log
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.registry.verifier import Verifier

CLAIMS = 10
CLAIM_PAUSE = 0.1  # seconds before looking again for a blob that another replica fetches

T = TypeVar("T")


class Documents(Protocol):
    async def config(self, digest: Digest) -> Document | None:
        """A config that we made; None when it is missing."""


class Access(Protocol):
    async def prove(self, link: Link) -> None:
        """Return when the principal of *link* may read the blob; raises `BlobUnknown` or `Denied` when not."""

    async def remember(self, link: Link) -> None:
        """Count the bytes that the registry has just sent for *link* as a proof."""


class File(shared_transfers.File, Protocol):
    @property
    def path(self) -> Path: ...

    @property
    def name(self) -> str:
        """Where it is below the folder of all spools."""

    @property
    def size(self) -> int: ...

    def keep(self) -> None:
        """Have `find` find it, until its room is needed."""


class Spool(Protocol):
    """Files on this machine's disk, as many bytes as there is room for."""

    def find(self, registry: str, digest: Digest) -> File | None:
        """A whole one."""

    def new(self, registry: str, digest: Digest, size: int) -> File | None:
        """An empty one; None when *size* bytes can never fit."""


class Deliveries:
    """Finds what a link names: on disk, in S3, in the registry. What is on its way in its scope is not fetched twice.

    Transfers end with the block of this context manager.
    """

    def __init__(
        self,
        documents: Documents,
        layers: Store,
        cache: Cache,
        upstream: Upstream,
        spool: Spool,
        access: Access,
        slots: TransferSlots | None = None,
        forsaken: timedelta = IDLE_LIFETIME,
    ) -> None:
        self._documents = documents
        self._layers = layers
        self._cache = cache
        self._upstream = upstream
        self._spool = spool
        self._access = access
        self._slots = slots or TransferSlots()
        self._transfers: Transfers[File] = Transfers(self._new_file, self._fetch, forsaken)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transfers.close()

    @asynccontextmanager
    async def open(self, link: Link, part: Span | None = None) -> AsyncIterator[Redirect | Body | FileBody]:
        """The bytes of *link*, or a *part* of them, to be read inside the block.

        The last bytes of a whole body come after size and digest have been found right; when they are not,
        `UpstreamFailed` is raised instead. A part cannot be verified by itself, so it is never stored.
        """
        span = part or Span(0, link.size)
        async with AsyncExitStack() as block:
            if link.origin is Origin.DOCUMENT:
                content = await self._document(link)
                check_size(link, len(content))
                yield Body(_once(content[span.start : span.stop]), span.length)
            elif url := await self.in_store(link):
                yield Redirect(url)
            elif file := await self._on_disk(link):
                check_size(link, file.size)
                block.enter_context(file.held())
                yield FileBody(_once(file.extent(span)))
            else:
                yield await self._brought(link, span, block)

    async def on_disk(self, link: Link) -> str | None:
        """The name of the file that has the whole blob, until its room is needed; None when there is none."""
        file = await self._on_disk(link)
        return file.name if file and file.size == link.size else None

    async def in_store(self, link: Link) -> str | None:
        """Where in S3 the client itself finds the blob, if it reaches that and the blob is there.

        Raises:
            BlobUnknown: a layer that was added is not stored any more.
            BlobUnknown, Denied: the registry does not show the blob to the link's principal.
            UpstreamFailed: what is stored has another size.
        """
        if link.relayed or link.origin is Origin.DOCUMENT or not self._store(link).link(link.digest):
            return None
        return self._store(link).link(link.digest) if await self._is_stored(link) else None

    async def _document(self, link: Link) -> bytes:
        document = await self._documents.config(link.digest)
        if document is None:
            raise BlobUnknown(f"{link.digest} is not stored here any more")
        return document.content

    async def _on_disk(self, link: Link) -> File | None:
        if not (self._spool.find(_owner(link), link.digest) and await self._may_read(link)):
            return None
        return self._spool.find(_owner(link), link.digest)

    async def _may_read(self, link: Link) -> bool:
        """Whether stored bytes may be read: False where the registry does not answer the question, and is to be asked
        for the blob itself. A layer that was added is its token's own: it was verified when the image was made.

        Raises:
            BlobUnknown, Denied: the registry does not show it.
        """
        try:
            if link.origin is not Origin.LAYER:
                await self._access.prove(link)
        except (UpstreamFailed, TooManyRequests) as error:
            log.info("access to a stored blob not proven", digest=link.digest, error=str(error))
            return False
        return True

    async def _brought(self, link: Link, span: Span, block: AsyncExitStack) -> Redirect | Body | FileBody:
        """*span* with the other readers of the blob in its scope, or by itself where that does not fit."""
        for is_last in (False, True):
            running = self._transfers.find_or_start(link, span)
            if running is None:
                break
            try:
                redirect = await block.enter_async_context(running.joined(span.start))
            except SpoolFull:
                break
            except DigestMismatch:
                if is_last:
                    raise
            else:
                return redirect or FileBody(self._followed(link, span, running, block))
        return await block.enter_async_context(self._alone(link, span))

    async def _followed(
        self, link: Link, span: Span, running: Transfer, block: AsyncExitStack
    ) -> AsyncIterator[Extent | bytes]:
        """The bytes of *span* as they arrive; where the transfer ends early, they go on from another at the same byte.

        What has been sent cannot be taken back, so another one must begin with the same bytes.
        """
        at = span.start
        try:
            async for extent in running.extents(span):
                yield extent
                at = extent.stop
            return
        except SpoolFull as error:
            log.info("blob passed on, the spool is full", digest=link.digest, at=at, error=str(error))
            rest = await self._rest(link, running, Span(at, span.stop), block)
        except DigestMismatch as error:
            rest = await self._replaced(link, running, Span(span.start, at), span.stop, block, error)
        async for piece in rest:
            yield piece

    async def _rest(
        self, link: Link, running: Transfer, span: Span, block: AsyncExitStack
    ) -> AsyncIterator[Extent | bytes]:
        """*span*, which ends what *running* has begun, for one reader and stored nowhere."""
        place: BlobSource = (
            StoreSource(self._store(link), link.digest) if await self._is_stored(link) else self._registry(link)
        )
        found = await block.enter_async_context(opened(place, span))
        if isinstance(found, Redirect):
            raise UpstreamFailed("the blob has moved while it was read")
        if span.stop < link.size:
            return found.pieces
        if running.verifier is None or running.arrived != span.start:
            raise Unavailable("the end of the blob cannot be verified: ask again")
        return verified_pieces(found.pieces, running.verifier.copy())

    async def _replaced(
        self, link: Link, running: Transfer, sent: Span, stop: int, block: AsyncExitStack, error: DigestMismatch
    ) -> AsyncIterator[Extent]:
        """The bytes behind *sent*, of a new transfer that begins like *running*, whose digest was wrong."""
        other = self._transfers.find_or_start(link, Span(0, link.size))
        if other is None or other is running:
            raise error
        if await block.enter_async_context(other.joined(sent.start)) is not None:
            raise error  # the bytes are somewhere else now, and the answer has begun
        log.info("blob fetched again: the first transfer had another digest", digest=link.digest)
        if not await have_same_bytes(running, other, sent):
            raise error
        return other.extents(Span(sent.stop, stop))

    def _new_file(self, link: Link) -> File | None:
        return self._spool.new(_owner(link), link.digest, link.size)

    async def _fetch(self, link: Link, begun: Transfer, file: File) -> None:
        """Have the blob on disk and then in S3."""
        async with AsyncExitStack() as claim:
            is_stored, is_ours = await self._stored_or_claimed(link, claim)
            if is_stored and (url := self._public_link(link)):
                begun.end(Redirect(url))
                return
            place: BlobSource = StoreSource(self._store(link), link.digest) if is_stored else self._registry(link)
            async with opened(place, Span(0, link.size)) as found:
                if isinstance(found, Redirect):
                    begun.end(found)
                    return
                await begun.take(found.pieces, Verifier(link.digest, link.size, trusted=is_stored))
            file.keep()
            if not is_stored:
                await self._access.remember(link)
            if is_ours:
                await self._cache.keep(link.registry, link.digest, file.path)

    async def _stored_or_claimed(self, link: Link, claim: AsyncExitStack) -> tuple[bool, bool]:
        """Whether the blob is stored, or else we are to store it; a replica that is at it gets a second to finish."""
        if link.origin is Origin.LAYER:
            return await self._is_stored(link), False
        for _ in range(CLAIMS):
            claiming = asyncio.ensure_future(self._claimed(link, claim))  # Redis and S3 are asked at the same time
            try:
                is_stored = await self._is_stored(link)
            finally:
                is_ours = await claiming
            if is_stored or is_ours:
                return is_stored, not is_stored
            await asyncio.sleep(CLAIM_PAUSE)
        return await self._is_stored(link), False

    async def _claimed(self, link: Link, claim: AsyncExitStack) -> bool:
        ours = await self._cache.claim(link.scope)
        if ours:
            await claim.enter_async_context(ours)
        return ours is not None

    def _store(self, link: Link) -> Store:
        return self._layers if link.origin is Origin.LAYER else self._cache.of(link.registry)

    def _public_link(self, link: Link) -> str | None:
        return None if link.relayed else self._store(link).link(link.digest)

    def _registry(self, link: Link) -> RegistrySource:
        return RegistrySource(self._upstream, link, self._slots)

    async def _is_stored(self, link: Link) -> bool:
        """Whether the blob is in S3 and may be read; if not, it must be fetched from its registry."""
        size = await self._store(link).size(link.digest)
        if size is None:
            if link.origin is Origin.LAYER:
                raise BlobUnknown(f"{link.digest} is not stored here any more")
            return False
        if not await self._may_read(link):
            return False
        check_size(link, size)
        return True

    @asynccontextmanager
    async def _alone(self, link: Link, span: Span) -> AsyncIterator[Redirect | Body]:
        """*span* for one client, stored nowhere."""
        is_stored = await self._is_stored(link)
        if is_stored and (url := self._public_link(link)):
            yield Redirect(url)
            return
        place: BlobSource = StoreSource(self._store(link), link.digest) if is_stored else self._registry(link)
        async with opened(place, span) as found:
            if isinstance(found, Body):
                verifier = Verifier(link.digest, span.length, trusted=is_stored or span.length < link.size)
                yield Body(verified_pieces(found.pieces, verifier), span.length)
            else:
                yield found


def _owner(link: Link) -> str:
    """Whose bytes a file of the spool holds: a registry's, or those of layers that came with requests."""
    return "" if link.origin is Origin.LAYER else link.registry


async def _once(whole: T) -> AsyncIterator[T]:
    yield whole
