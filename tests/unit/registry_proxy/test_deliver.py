"""Blobs are delivered whole and right, or not to their end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from registry_proxy.deliver import Body, Deliveries, Redirect
from registry_proxy.domain.link import Link, Origin
from swell.errors import BlobUnknown, SwellError, UpstreamFailed
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_CONFIG
from swell.oci.reference import Reference
from swell.store.blobs import Blobs
from swell.store.objects import MemoryObjects

CONTENT = b"0123456789"
DIGEST = digest_of(CONTENT)
CONFIG = Document(OCI_CONFIG, b"{}")


class Configs:
    """The configs that we made: one."""

    async def config(self, digest: Digest) -> Document | None:
        return CONFIG if digest == CONFIG.digest else None


class Upstream:
    """A registry that answers every blob in the same way."""

    def __init__(self, *pieces: bytes, size: int | None = None, redirect: str | None = None) -> None:
        self.pieces = pieces
        self.size = size
        self.redirect = redirect
        self.asked: list[tuple[str, Digest]] = []

    @asynccontextmanager
    async def open_blob(self, reference: Reference, digest: Digest) -> AsyncIterator[Redirect | Body]:
        self.asked.append((reference.name, digest))
        yield Redirect(self.redirect) if self.redirect else Body(self._body(), self.size)

    async def _body(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


def link(origin: Origin, digest: Digest = DIGEST, size: int = len(CONTENT)) -> Link:
    return Link(origin, "quay.io", "team/tool", digest, size, "", 0)


async def taken(upstream: Upstream, wanted: Link, blobs: Blobs | None = None) -> tuple[bytes, SwellError | None]:
    """What a client of *wanted* has in its hands at the end, and what went wrong."""
    held = b""
    deliveries = Deliveries(Configs(), blobs or Blobs(MemoryObjects()), upstream)
    try:
        async with deliveries.open(wanted) as found:
            assert isinstance(found, Body)
            async for piece in found.pieces:
                held += piece
    except SwellError as error:
        return held, error
    return held, None


async def test_an_upstream_blob_passes_through() -> None:
    """It is asked for in the repository that the link names."""
    upstream = Upstream(b"01234", b"56789", size=10)

    assert await taken(upstream, link(Origin.UPSTREAM)) == (CONTENT, None)
    assert upstream.asked == [("quay.io/team/tool", DIGEST)]


@pytest.mark.parametrize(
    "pieces", [(b"01234", b"5678x"), (b"01234", b"5678"), (b"01234", b"56789", b"0"), (b"0123456789x",), ()]
)
async def test_a_wrong_blob_is_never_delivered_to_its_end(pieces: tuple[bytes, ...]) -> None:
    """A client must not be able to take it for the right one, whatever it checks itself."""
    held, error = await taken(Upstream(*pieces), link(Origin.UPSTREAM))

    assert isinstance(error, UpstreamFailed)
    assert len(held) < len(CONTENT)


async def test_a_wrong_length_is_refused_before_the_first_byte() -> None:
    """There the client can still be told why."""
    held, error = await taken(Upstream(CONTENT, size=11), link(Origin.UPSTREAM))

    assert (held, type(error)) == (b"", UpstreamFailed)


async def test_a_redirect_is_handed_on() -> None:
    """The fastest byte is the one that does not pass here."""
    deliveries = Deliveries(Configs(), Blobs(MemoryObjects()), Upstream(redirect="https://cdn.example/x?sig=1"))

    async with deliveries.open(link(Origin.UPSTREAM)) as found:
        assert found == Redirect("https://cdn.example/x?sig=1")


async def test_a_config_that_we_made_comes_from_the_documents() -> None:
    """No registry has it."""
    assert await taken(Upstream(), link(Origin.DOCUMENT, CONFIG.digest, 2)) == (b"{}", None)


async def test_a_layer_that_was_added_comes_from_the_store() -> None:
    """It was verified when it was put there."""
    blobs = Blobs(MemoryObjects())
    await blobs.put(DIGEST, CONTENT)

    assert await taken(Upstream(), link(Origin.LAYER), blobs) == (CONTENT, None)


@pytest.mark.parametrize("origin", [Origin.DOCUMENT, Origin.LAYER])
async def test_what_is_kept_no_more_is_unknown(origin: Origin) -> None:
    """The client is told before the first byte."""
    held, error = await taken(Upstream(), link(origin))

    assert (held, type(error)) == (b"", BlobUnknown)
