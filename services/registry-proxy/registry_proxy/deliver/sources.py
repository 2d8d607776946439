"""The sources of a blob's bytes: its registry, or the object store."""

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
from swell.registry.credentials.principal import Principal


class BlobStore(Protocol):
    """Verified blobs in the object store."""

    async def size(self, digest: Digest) -> int | None:
        """Return the blob's size in bytes; None if it is not stored."""

    def link(self, digest: Digest) -> str | None:
        """Return a URL for clients; None if clients cannot reach the store."""

    def open(self, digest: Digest, start: int, stop: int | None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Read the bytes from *start* to before *stop*; raises `BlobUnknown`."""


class Cache(Protocol):
    """A cache of blobs from registries. Only `BlobStore.open` raises: without the cache, pulls are slower."""

    def for_registry(self, registry: str) -> BlobStore:
        """Return the cached blobs that *registry* sent."""

    async def store(self, registry: str, digest: Digest, path: Path) -> None:
        """Upload the verified blob in the file *path*."""

    async def lease(self, scope: Scope) -> AbstractAsyncContextManager[None] | None:
        """Take the lease to store a blob, for the length of the block; None while another replica holds it."""


class Upstream(Protocol):
    def acting_for(self, principal: Principal) -> Self: ...

    def open_blob(
        self, reference: Reference, digest: Digest, part: Span | None, *, followed: bool
    ) -> AbstractAsyncContextManager[Redirect | Body]:
        """Open a blob of *reference*'s repository, or a part of it. With *followed*, follow the registry's redirects.

        Raises:
            BlobUnknown: the registry does not have it.
        """


class RegistrySource:
    """A blob in its registry; reading it holds a transfer slot."""

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
            self._upstream.open_blob(link.reference, link.digest, part, followed=link.relayed) as response,
        ):
            if isinstance(response, Redirect):
                yield response
            else:
                yield Body(self._slots.paced(response.pieces), response.size)


class StoreSource:
    """A blob in the object store."""

    def __init__(self, store: BlobStore, digest: Digest) -> None:
        self._store = store
        self._digest = digest

    @asynccontextmanager
    async def open(self, span: Span) -> AsyncIterator[Redirect | Body]:
        async with self._store.open(self._digest, span.start, span.stop) as pieces:
            yield Body(pieces, span.length)


def check_size(link: Link, size: int) -> None:
    """Check the blob's *size* in bytes against the link's, which comes from an untrusted manifest.

    Raises:
        UpstreamFailed: the sizes differ.
    """
    if size != link.size:
        raise UpstreamFailed(f"{link.digest} has {size} bytes; the manifest says {link.size}")
