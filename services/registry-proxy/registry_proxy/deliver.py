"""Delivering a blob that a link allows, without a byte under a wrong digest.

A link is only given to whom an image leads to its blob, so what is kept here is found by its digest alone, whichever
repository it came from.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol, Self, TypeVar

from registry_proxy import transfer
from registry_proxy.domain.link import Link, Origin
from registry_proxy.domain.ranges import Span
from registry_proxy.transfer import Body, Held, Place, Redirect, Transfer, opened
from swell.errors import BlobUnknown, SwellError, Unavailable, UpstreamFailed
from swell.log import log
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference
from swell.registry.principal import Principal
from swell.registry.verifier import Verifier

AHEAD = 16 << 20  # bytes; a part that begins further on is fetched by itself, not waited for
FORSAKEN = timedelta(seconds=30)  # a transfer that nobody reads goes on so long: clients come back where they were cut
CLAIMS, CLAIM_PAUSE = (
    10,
    0.1,
)  # how often, and after how many seconds, we look again for a blob that another replica fetches

T = TypeVar("T")


class Documents(Protocol):
    async def config(self, digest: Digest) -> Document | None:
        """A config that we made; None when there is none."""


class Store(Protocol):
    """Verified blobs in S3."""

    async def size(self, digest: Digest) -> int | None:
        """In bytes; None when it is not kept."""

    def link(self, digest: Digest) -> str | None:
        """Where clients fetch it from; None when they do not reach the store."""

    def open(self, digest: Digest, start: int, stop: int | None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Its bytes from *start* to before *stop*; raises `BlobUnknown`."""


class Cache(Store, Protocol):
    """Blobs of registries, kept for a while. Never raises but in `open`: without it all goes on, more slowly."""

    async def keep(self, digest: Digest, path: Path) -> None: ...

    async def claim(self, digest: Digest) -> AbstractAsyncContextManager[None] | None:
        """The right to keep a blob, for as long as the block lasts; None while another replica has it."""


class Upstream(Protocol):
    def acting_for(self, principal: Principal) -> Self: ...

    def open_blob(
        self, reference: Reference, digest: Digest, part: Span | None, *, followed: bool
    ) -> AbstractAsyncContextManager[Redirect | Body]:
        """A blob of *reference*'s repository, or a part: in its registry or, *followed*, wherever that keeps it.

        Raises `BlobUnknown`.
        """


class File(transfer.File, Protocol):
    @property
    def path(self) -> Path: ...

    @property
    def name(self) -> str:
        """Where it is below the folder of all spools."""

    @property
    def size(self) -> int: ...

    def keep(self) -> None:
        """Have `find` find it, until its room is needed."""

    def drop(self) -> None: ...


class Spool(Protocol):
    """Files on this machine's disk, as many bytes as there is room for."""

    def find(self, digest: Digest) -> File | None:
        """A whole one."""

    def new(self, digest: Digest, size: int) -> File | None:
        """An empty one; None when there is no room for *size* bytes."""


class Deliveries:
    """Finds what a link names: on disk, in S3, in the registry. What is on its way already is not fetched twice.

    Transfers go on without whoever caused them; they end with the block of this context manager.
    """

    def __init__(
        self,
        documents: Documents,
        layers: Store,
        cache: Cache,
        upstream: Upstream,
        spool: Spool,
        forsaken: timedelta = FORSAKEN,
    ) -> None:
        self._documents = documents
        self._layers = layers
        self._cache = cache
        self._upstream = upstream
        self._spool = spool
        self._patience = forsaken
        self._under_way: dict[tuple[Digest, bool], tuple[Link, Transfer]] = {}
        self._tasks: dict[Transfer, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def open(self, link: Link, part: Span | None = None) -> AsyncIterator[Redirect | Body | Held]:
        """The bytes of *link*, or a *part* of them, to be read inside the block.

        The last bytes of a whole body come after size and digest have been found right; when they are not,
        `UpstreamFailed` is raised instead. A part cannot be verified by itself, so it is never kept.
        """
        span = part or Span(0, link.size)
        async with AsyncExitStack() as block:
            if link.origin is Origin.DOCUMENT:
                content = await self._document(link)
                _agree(link, len(content))
                yield Body(_once(content[span.start : span.stop]), span.length)
            elif url := await self.in_store(link):
                yield Redirect(url)
            elif file := self._spool.find(link.digest):
                _agree(link, file.size)
                block.enter_context(file.held())
                yield Held(_once(file.extent(span)))
            else:
                yield await self._brought(link, span, block)

    def on_disk(self, link: Link) -> str | None:
        """The name of the file that has the whole blob, until its room is needed; None when there is none."""
        file = self._spool.find(link.digest)
        return file.name if file and file.size == link.size else None

    async def in_store(self, link: Link) -> str | None:
        """Where in S3 the client itself finds the blob, if it reaches that and the blob is there.

        Raises:
            BlobUnknown: a layer that was added is not kept any more.
            UpstreamFailed: what is kept has another size.
        """
        if link.relayed or link.origin is Origin.DOCUMENT or not self._store(link).link(link.digest):
            return None
        kept = await self._kept(link)
        return kept.url if isinstance(kept, Redirect) else None

    async def _document(self, link: Link) -> bytes:
        document = await self._documents.config(link.digest)
        if document is None:
            raise BlobUnknown(f"{link.digest} is not kept here any more")
        return document.content

    async def _brought(self, link: Link, span: Span, block: AsyncExitStack) -> Redirect | Body | Held:
        """*span* with everybody else who wants the blob, or by itself where that does not fit."""
        first, running = self._shared(link, span) or (link, None)
        if running:
            try:
                return await block.enter_async_context(running.joined(span))
            except SwellError:
                if first.reference == link.reference:
                    raise
                log.info("blob fetched from another repository", digest=link.digest, registry=link.registry)
        return await block.enter_async_context(self._alone(link, span))

    def _shared(self, link: Link, span: Span) -> tuple[Link, Transfer] | None:
        """The transfer under way that will have *span* soon, and the link that began it; perhaps a new one."""
        found = self._under_way.get((link.digest, link.relayed))
        if found:
            first, running = found
            soon = running.is_whole or span.start <= running.arrived + AHEAD
            return found if first.size == link.size and soon else None
        if span.stop < link.size or span.start > AHEAD:
            return None
        return self._begun(link)

    def _begun(self, link: Link) -> tuple[Link, Transfer] | None:
        file = self._spool.new(link.digest, link.size)
        if file is None:
            return None
        key, begun = (link.digest, link.relayed), Transfer(file, link.size, self._forsake)
        self._under_way[key] = link, begun
        task = self._tasks[begun] = asyncio.create_task(self._bring(link, begun, file))
        task.add_done_callback(lambda _: self._tasks.pop(begun))
        task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return link, begun

    def _forsake(self, begun: Transfer) -> None:
        def give_up() -> None:
            if not (begun.readers or begun.is_whole) and (task := self._tasks.get(begun)):
                task.cancel()

        asyncio.get_running_loop().call_later(self._patience.total_seconds(), give_up)

    async def _bring(self, link: Link, begun: Transfer, file: File) -> None:
        """Have the blob on disk and then in S3, for all who wait; whatever goes wrong goes to them."""
        try:
            with file.held():
                await self._take(link, begun, file)
        except asyncio.CancelledError:
            begun.end(Unavailable("the transfer was given up: ask again"))
            raise
        except SwellError as error:
            begun.end(error)
        except Exception:  # noqa: BLE001 (a task of its own: whoever waits must be told)
            log.exception("blob not fetched", digest=link.digest)
            begun.end(SwellError())
        finally:
            if not begun.is_whole:
                file.drop()

    async def _take(self, link: Link, begun: Transfer, file: File) -> None:
        async with AsyncExitStack() as claim:
            kept, is_ours = await self._kept_or_claimed(link, claim)
            place = kept or _Upstream(self._upstream, link)
            found: Redirect | Body
            if isinstance(place, Redirect):
                begun.end(place)
                return
            async with opened(place, Span(0, link.size)) as found:
                if isinstance(found, Redirect):
                    begun.end(found)
                    return
                await begun.take(found.pieces, Verifier(link.digest, link.size, trusted=kept is not None))
            file.keep()
            if is_ours:
                await self._cache.keep(link.digest, file.path)

    async def _kept_or_claimed(self, link: Link, claim: AsyncExitStack) -> tuple[Redirect | Place | None, bool]:
        """Where the blob is kept, or whether we are to keep it; a replica that is at it gets a second to finish."""
        if link.origin is Origin.LAYER:
            return await self._kept(link), False
        for _ in range(CLAIMS):
            claiming = asyncio.ensure_future(self._claimed(link, claim))  # Redis and S3 are asked at the same time
            try:
                kept = await self._kept(link)
            finally:
                is_ours = await claiming
            if kept or is_ours:
                return kept, kept is None
            await asyncio.sleep(CLAIM_PAUSE)
        return await self._kept(link), False

    async def _claimed(self, link: Link, claim: AsyncExitStack) -> bool:
        ours = await self._cache.claim(link.digest)
        if ours:
            await claim.enter_async_context(ours)
        return ours is not None

    def _store(self, link: Link) -> Store:
        return self._layers if link.origin is Origin.LAYER else self._cache

    async def _kept(self, link: Link) -> Redirect | Place | None:
        """Where in S3 the blob is; None when it must be fetched from its registry."""
        store = self._store(link)
        size = await store.size(link.digest)
        if size is None:
            if link.origin is Origin.LAYER:
                raise BlobUnknown(f"{link.digest} is not kept here any more")
            return None
        _agree(link, size)
        url = None if link.relayed else store.link(link.digest)
        return Redirect(url) if url else _Kept(store, link.digest)

    @asynccontextmanager
    async def _alone(self, link: Link, span: Span) -> AsyncIterator[Redirect | Body]:
        """*span* for one client, kept nowhere."""
        kept = await self._kept(link)
        if isinstance(kept, Redirect):
            yield kept
            return
        is_known = kept is not None or span.length < link.size
        async with opened(kept or _Upstream(self._upstream, link), span) as found:
            if isinstance(found, Body):
                verifier = Verifier(link.digest, span.length, trusted=is_known)
                yield Body(transfer.checked(found.pieces, verifier), span.length)
            else:
                yield found


class _Upstream:
    """A blob in its registry."""

    def __init__(self, upstream: Upstream, link: Link) -> None:
        self._upstream = upstream
        self._link = link

    def open(self, span: Span) -> AbstractAsyncContextManager[Redirect | Body]:
        link = self._link
        part = span if span.length < link.size else None
        return self._upstream.acting_for(link.principal).open_blob(
            link.reference, link.digest, part, followed=link.relayed
        )


class _Kept:
    """A blob in S3."""

    def __init__(self, store: Store, digest: Digest) -> None:
        self._store = store
        self._digest = digest

    @asynccontextmanager
    async def open(self, span: Span) -> AsyncIterator[Redirect | Body]:
        async with self._store.open(self._digest, span.start, span.stop) as pieces:
            yield Body(pieces, span.length)


def _agree(link: Link, size: int) -> None:
    """Links have sizes from manifests, which are anybody's word.

    Raises:
        UpstreamFailed: the blob has another one.
    """
    if size != link.size:
        raise UpstreamFailed(f"{link.digest} has {size} bytes, not {link.size} as the manifest says")


async def _once(whole: T) -> AsyncIterator[T]:
    yield whole
