"""Where the bytes of one blob can be read: its registry, or an object store."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol, Self

from registry_proxy.deliver.transfer import Body, Redirect
from registry_proxy.domain.link import Link, Scope
from registry_proxy.domain.ranges import Span
from registry_proxy.slots import TransferSlots
from swell.errors import UpstreamFailed
from swell.oci.digest import Digest
from swell.oci.reference import Reference
from swell.registry.principal import Principal


class Store(Protocol):
    """Verified blobs in S3."""

    async def size(self, digest: Digest) -> int | None:
        """In bytes; None when it is missing."""

    def link(self, digest: Digest) -> str | None:
        """Where clients fetch it from; None when they do not reach the store."""

    def open(self, digest: Digest, start: int, stop: int | None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Its bytes from *start* to before *stop*; raises `BlobUnknown`."""


class Cache(Protocol):
    """Blobs of registries, stored for a while. Never raises but in a store's `open`: without it all goes on, slower."""

    def of(self, registry: str) -> Store:
        """What *registry* has sent."""

    async def keep(self, registry: str, digest: Digest, path: Path) -> None: ...

    async def claim(self, scope: Scope) -> AbstractAsyncContextManager[None] | None:
        """The right to store a blob, for as long as the block lasts; None while another replica has it."""


class Upstream(Protocol):
    def acting_for(self, principal: Principal) -> Self: ...

    def open_blob(
        self, reference: Reference, digest: Digest, part: Span | None, *, followed: bool
    ) -> AbstractAsyncContextManager[Redirect | Body]:
        """A blob of *reference*'s repository, or a part: in its registry or, *followed*, wherever that stores it.

        Raises `BlobUnknown`.
        """


class RegistrySource:
    """A blob in its registry; reading it takes a slot."""

    def __init__(self, upstream: Upstream, link: Link, slots: TransferSlots) -> None:
        self._upstream = upstream.acting_for(link.principal)
        self._link = link
        self._slots = slots

    @asynccontextmanager
    async def open(self, span: Span) -> AsyncIterator[Redirect | Body]:
        link = self._link
        part = span if span.length < link.size else None
        async with (
            self._slots.take(link.registry),
            self._upstream.open_blob(link.reference, link.digest, part, followed=link.relayed) as found,
        ):
            yield found


class StoreSource:
    """A blob in S3."""

    def __init__(self, store: Store, digest: Digest) -> None:
        self._store = store
        self._digest = digest

    @asynccontextmanager
    async def open(self, span: Span) -> AsyncIterator[Redirect | Body]:
        async with self._store.open(self._digest, span.start, span.stop) as pieces:
            yield Body(pieces, span.length)


def check_size(link: Link, size: int) -> None:
    """Links have sizes from manifests, which are anybody's word.

    Raises:
        UpstreamFailed: the blob has another one.
    """
    if size != link.size:
        raise UpstreamFailed(f"{link.digest} has {size} bytes, not {link.size} as the manifest says")
