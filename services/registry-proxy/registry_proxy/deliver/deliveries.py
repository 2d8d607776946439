"""Deliver the blob that a link names, and never a whole blob with a wrong digest.

Stored bytes are keyed by the registry that sent them. They are served only after an access check for the link's
principal and repository. Transfers are shared only within one registry, repository and principal.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol, Self, TypeVar

from prometheus_client import Counter

from registry_proxy.deliver.resume import BlobSource, open_resuming, verified_pieces
from registry_proxy.deliver.shared_transfers import IDLE_LIFETIME, TransferFile, Transfers, have_same_bytes
from registry_proxy.deliver.sources import BlobStore, Cache, RegistrySource, StoreSource, Upstream, check_size
from registry_proxy.deliver.transfer import Body, Extent, FileBody, Redirect, Transfer
from registry_proxy.domain.link import Link, Origin
from registry_proxy.domain.ranges import Span
from registry_proxy.slots import TransferSlots
from swell.errors import BlobUnknown, DigestMismatch, SpoolFull, TooManyRequests, Unavailable, UpstreamFailed
from swell.log import log
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.registry.verifier import Verifier

BLOBS = Counter("swell_blobs", "Blobs, or parts of them, by where their bytes come from.", ["source"])
LEASE_ATTEMPTS = 10
LEASE_PAUSE = 0.1  # seconds until the next check for a blob that another replica fetches

T = TypeVar("T")


class Documents(Protocol):
    async def config(self, digest: Digest) -> Document | None:
        """Return a config that this service created; None if it is missing."""


class Access(Protocol):
    async def prove(self, link: Link) -> None:
        """Return if the principal of *link* may read the blob; raises `BlobUnknown` or `Denied` if not."""

    async def remember(self, link: Link) -> None:
        """Record that the registry has just sent the blob's bytes for *link*."""


class SpoolFile(TransferFile, Protocol):
    @property
    def path(self) -> Path: ...

    @property
    def name(self) -> str:
        """Its path relative to the folder of all spools."""

    @property
    def size(self) -> int: ...

    def cache(self) -> None:
        """Make the complete file visible to `find` until its space is needed."""


class Spool(Protocol):
    """A bounded cache of blob files on the local disk."""

    def find(self, registry: str, digest: Digest) -> SpoolFile | None:
        """Return a complete file."""

    def new(self, registry: str, digest: Digest, size: int) -> SpoolFile | None:
        """Create an empty file; None if *size* bytes can never fit."""


class Deliveries:
    """Read a link's blob from disk, from S3, or from its registry. A blob is fetched once per scope at a time.

    Transfers run inside the block of this context manager.
    """

    def __init__(
        self,
        documents: Documents,
        layers: BlobStore,
        cache: Cache,
        upstream: Upstream,
        spool: Spool,
        access: Access,
        slots: TransferSlots | None = None,
        idle_lifetime: timedelta = IDLE_LIFETIME,
    ) -> None:
        self._documents = documents
        self._layers = layers
        self._cache = cache
        self._upstream = upstream
        self._spool = spool
        self._access = access
        self._slots = slots or TransferSlots()
        self._transfers: Transfers[SpoolFile] = Transfers(self._new_file, self._fetch, idle_lifetime)

    async def __aenter__(self) -> Self:
        await self._transfers.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transfers.__aexit__()

    @asynccontextmanager
    async def open(self, link: Link, part: Span | None = None) -> AsyncIterator[Redirect | Body | FileBody]:
        """Open the blob of *link*, or a *part* of it, for reading inside the block.

        The last bytes of a whole blob follow only after its size and digest are verified; if they are wrong,
        `UpstreamFailed` is raised. A part cannot be verified alone, so it is never stored.
        """
        span = part or Span(0, link.size)
        async with AsyncExitStack() as block:
            if link.origin is Origin.DOCUMENT:
                BLOBS.labels("document").inc()
                content = await self._document(link)
                check_size(link, len(content))
                yield Body(_single(content[span.start : span.stop]), span.length)
            elif url := await self.in_store(link):
                BLOBS.labels("object-store").inc()
                yield Redirect(url)
            elif file := await self._on_disk(link):
                check_size(link, file.size)
                BLOBS.labels("spool").inc()
                block.enter_context(file.opened())
                yield FileBody(_single(file.extent(span)))
            else:
                yield await self._from_transfer(link, span, block)

    async def on_disk(self, link: Link) -> str | None:
        """Return the name of the spool file that has the whole blob; None if it is not on disk."""
        file = await self._on_disk(link)
        if file is None or file.size != link.size:
            return None
        BLOBS.labels("spool").inc()
        return file.name

    async def in_store(self, link: Link) -> str | None:
        """Return the blob's URL in S3 if the blob is stored and clients can reach the store.

        Raises:
            BlobUnknown: an added layer is not stored any more.
            BlobUnknown, Denied: the registry does not serve the blob to the link's principal.
            UpstreamFailed: the stored blob has another size.
        """
        if link.relayed or link.origin is Origin.DOCUMENT or not self._store(link).link(link.digest):
            return None
        return self._store(link).link(link.digest) if await self._is_stored(link) else None

    async def _document(self, link: Link) -> bytes:
        document = await self._documents.config(link.digest)
        if document is None:
            raise BlobUnknown(f"{link.digest} is no longer stored here")
        return document.content

    async def _on_disk(self, link: Link) -> SpoolFile | None:
        if not (self._spool.find(_spool_owner(link), link.digest) and await self._may_read(link)):
            return None
        return self._spool.find(_spool_owner(link), link.digest)

    async def _may_read(self, link: Link) -> bool:
        """Return whether stored bytes may be served; False if the registry does not answer the access check.

        Added layers need no check: they belong to the token and were verified when the image was created.

        Raises:
            BlobUnknown, Denied: the registry does not serve the blob to the principal.
        """
        try:
            if link.origin is not Origin.LAYER:
                await self._access.prove(link)
        except (UpstreamFailed, TooManyRequests) as error:
            log.info("access to a stored blob not checked", digest=link.digest, error=str(error))
            return False
        return True

    async def _from_transfer(self, link: Link, span: Span, block: AsyncExitStack) -> Redirect | Body | FileBody:
        """Read *span* from a shared transfer, or with a separate request where no transfer fits."""
        for is_last in (False, True):
            transfer = self._transfers.find_or_start(link, span)
            if transfer is None:
                break
            try:
                redirect = await block.enter_async_context(transfer.joined(span.start))
            except SpoolFull:
                break
            except DigestMismatch:
                if is_last:
                    raise
            else:
                BLOBS.labels("transfer").inc()
                return redirect or FileBody(self._follow(link, span, transfer, block))
        BLOBS.labels("separate").inc()
        return await block.enter_async_context(self._separately(link, span))

    async def _follow(
        self, link: Link, span: Span, transfer: Transfer, block: AsyncExitStack
    ) -> AsyncIterator[Extent | bytes]:
        """Yield *span* as it arrives; if the transfer ends early, continue from another source at the same byte.

        Bytes already sent cannot be replaced, so another transfer must begin with the same bytes.
        """
        at = span.start
        try:
            async for extent in transfer.extents(span):
                yield extent
                at = extent.stop
            return
        except SpoolFull as error:
            log.info("blob streamed without the spool, which is full", digest=link.digest, at=at, error=str(error))
            rest = await self._open_rest(link, transfer, Span(at, span.stop), block)
        except DigestMismatch as error:
            rest = await self._open_replacement(link, transfer, Span(span.start, at), span.stop, block, error)
        async for piece in rest:
            yield piece

    async def _open_rest(
        self, link: Link, transfer: Transfer, span: Span, block: AsyncExitStack
    ) -> AsyncIterator[Extent | bytes]:
        """Read *span*, the rest of *transfer*, for one reader without storing it."""
        source = self._source(link, is_stored=await self._is_stored(link))
        response = await block.enter_async_context(open_resuming(source, span))
        if isinstance(response, Redirect):
            raise UpstreamFailed("the registry redirected the blob while it was read")
        if span.stop < link.size:
            return response.pieces
        if transfer.verifier is None or transfer.arrived != span.start:
            raise Unavailable("the end of the blob cannot be verified: send the request again")
        return verified_pieces(response.pieces, transfer.verifier.copy())

    async def _open_replacement(
        self, link: Link, transfer: Transfer, sent: Span, stop: int, block: AsyncExitStack, error: DigestMismatch
    ) -> AsyncIterator[Extent]:
        """Read the bytes after *sent* from a new transfer, which must begin like *transfer*, whose digest was wrong."""
        other = self._transfers.find_or_start(link, Span(0, link.size))
        if other is None or other is transfer:
            raise error
        if await block.enter_async_context(other.joined(sent.start)) is not None:
            raise error  # the response has begun, so the client cannot be redirected
        log.info("blob fetched again after a wrong digest", digest=link.digest)
        if not await have_same_bytes(transfer, other, sent):
            raise error
        return other.extents(Span(sent.stop, stop))

    def _new_file(self, link: Link) -> SpoolFile | None:
        return self._spool.new(_spool_owner(link), link.digest, link.size)

    async def _fetch(self, link: Link, transfer: Transfer, file: SpoolFile) -> None:
        """Fetch the blob to disk, and then upload it to S3."""
        async with AsyncExitStack() as leases:
            is_stored, has_lease = await self._stored_or_leased(link, leases)
            if is_stored and (url := self._public_link(link)):
                transfer.end(Redirect(url))
                return
            source = self._source(link, is_stored=is_stored)
            async with open_resuming(source, Span(0, link.size)) as response:
                if isinstance(response, Redirect):
                    transfer.end(response)
                    return
                await transfer.receive(response.pieces, Verifier(link.digest, link.size, trusted=is_stored))
            file.cache()
            if not is_stored:
                await self._access.remember(link)
            if has_lease:
                await self._cache.store(link.registry, link.digest, file.path)

    async def _stored_or_leased(self, link: Link, leases: AsyncExitStack) -> tuple[bool, bool]:
        """Return whether the blob is stored, and whether this replica holds the lease to store it.

        A replica that already fetches the blob gets a second to finish.
        """
        if link.origin is Origin.LAYER:
            return await self._is_stored(link), False
        for _ in range(LEASE_ATTEMPTS):
            is_stored, has_lease = await self._check_store_and_lease(link, leases)
            if is_stored or has_lease:
                return is_stored, not is_stored
            await asyncio.sleep(LEASE_PAUSE)
        return await self._is_stored(link), False

    async def _check_store_and_lease(self, link: Link, leases: AsyncExitStack) -> tuple[bool, bool]:
        """Query S3 and Redis concurrently."""
        try:
            async with asyncio.TaskGroup() as tasks:
                lease = tasks.create_task(self._take_lease(link, leases))
                try:
                    is_stored = await self._is_stored(link)
                finally:
                    has_lease = await lease  # a lease that is taken must be in *leases*, to be released
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return is_stored, has_lease

    async def _take_lease(self, link: Link, leases: AsyncExitStack) -> bool:
        lease = await self._cache.lease(link.scope)
        if lease:
            await leases.enter_async_context(lease)
        return lease is not None

    def _store(self, link: Link) -> BlobStore:
        return self._layers if link.origin is Origin.LAYER else self._cache.for_registry(link.registry)

    def _source(self, link: Link, *, is_stored: bool) -> BlobSource:
        if is_stored:
            return StoreSource(self._store(link), link.digest)
        return RegistrySource(self._upstream, link, self._slots)

    def _public_link(self, link: Link) -> str | None:
        return None if link.relayed else self._store(link).link(link.digest)

    async def _is_stored(self, link: Link) -> bool:
        """Return whether the blob is in S3 and may be served; otherwise it must come from its registry."""
        size = await self._store(link).size(link.digest)
        if size is None:
            if link.origin is Origin.LAYER:
                raise BlobUnknown(f"{link.digest} is no longer stored here")
            return False
        if not await self._may_read(link):
            return False
        check_size(link, size)
        return True

    @asynccontextmanager
    async def _separately(self, link: Link, span: Span) -> AsyncIterator[Redirect | Body]:
        """Read *span* for one client without storing it."""
        is_stored = await self._is_stored(link)
        if is_stored and (url := self._public_link(link)):
            yield Redirect(url)
            return
        source = self._source(link, is_stored=is_stored)
        async with open_resuming(source, span) as response:
            if isinstance(response, Body):
                verifier = Verifier(link.digest, span.length, trusted=is_stored or span.length < link.size)
                yield Body(verified_pieces(response.pieces, verifier), span.length)
            else:
                yield response


def _spool_owner(link: Link) -> str:
    """The first part of a spool key: the registry of the bytes; empty for layers that came with requests."""
    return "" if link.origin is Origin.LAYER else link.registry


async def _single(whole: T) -> AsyncIterator[T]:
    yield whole
