"""Delivering a blob that a link allows, without a byte under a wrong digest."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from msgspec import Struct

from registry_proxy.domain.link import Link, Origin
from registry_proxy.domain.verifier import Verifier
from swell.errors import BlobUnknown, UpstreamFailed
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference


class Redirect(Struct, frozen=True):
    """The bytes are somewhere else, where whoever asks may fetch them without credentials."""

    url: str


class Body(Struct, frozen=True):
    """The bytes in pieces, and how many the other side says there are."""

    pieces: AsyncIterator[bytes]
    size: int | None = None


class Documents(Protocol):
    async def config(self, digest: Digest) -> Document | None:
        """A config that we made; None when there is none."""


class Layers(Protocol):
    def open(self, digest: Digest) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A layer that was added; raises `BlobUnknown`."""


class Upstream(Protocol):
    def open_blob(self, reference: Reference, digest: Digest) -> AbstractAsyncContextManager[Redirect | Body]:
        """A blob of *reference*'s repository in its registry; raises `BlobUnknown`."""


class Deliveries:
    """Finds what a link names, at the place that the link names."""

    def __init__(self, documents: Documents, layers: Layers, upstream: Upstream) -> None:
        self._documents = documents
        self._layers = layers
        self._upstream = upstream

    @asynccontextmanager
    async def open(self, link: Link) -> AsyncIterator[Redirect | Body]:
        """The bytes of *link*, to be read inside the block.

        A body keeps its last piece back until size and digest have been found right; when they are not it raises
        `UpstreamFailed` instead, so that whoever reads never holds the whole of something wrong.
        """
        async with self._found(link) as found:
            if isinstance(found, Redirect):
                yield found
                return
            if found.size not in {None, link.size}:
                raise UpstreamFailed(f"{link.registry} has {found.size} bytes for {link.digest} instead of {link.size}")
            yield Body(_checked(found.pieces, Verifier(link.digest, link.size)), link.size)

    @asynccontextmanager
    async def _found(self, link: Link) -> AsyncIterator[Redirect | Body]:
        match link.origin:
            case Origin.DOCUMENT:
                yield Body(_once(await self._document(link.digest)))
            case Origin.LAYER:
                async with self._layers.open(link.digest) as pieces:
                    yield Body(pieces)
            case Origin.UPSTREAM:
                async with self._upstream.open_blob(link.reference, link.digest) as found:
                    yield found

    async def _document(self, digest: Digest) -> bytes:
        document = await self._documents.config(digest)
        if document is None:
            raise BlobUnknown(f"{digest} is not kept here any more")
        return document.content


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _checked(pieces: AsyncIterator[bytes], verifier: Verifier) -> AsyncIterator[bytes]:
    last = b""
    async for piece in pieces:
        verifier.update(piece)
        if verifier.is_full:
            last += piece
        else:
            yield piece
    verifier.finish()
    if last:
        yield last
