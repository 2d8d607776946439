"""Blobs are delivered completely and verified, or the response is cut short."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest
from msgspec import structs

from registry_proxy.adapters.spool import Spool, open_spool
from registry_proxy.deliver.access import Access
from registry_proxy.deliver.deliveries import Deliveries
from registry_proxy.deliver.transfer import Body, FileBody, Redirect
from registry_proxy.domain.link import Link, Origin
from registry_proxy.domain.ranges import Span
from swell.errors import BlobUnknown, Denied, SwellError, UpstreamFailed
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_CONFIG
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal
from swell.store.blobs import Blobs
from swell.store.objects import MemoryObjects
from tests.unit.registry_proxy.memory import MemoryCache, MemoryProofs

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

    def acting_for(self, principal: Principal) -> Self:
        return self

    @asynccontextmanager
    async def open_blob(
        self, reference: Reference, digest: Digest, part: Span | None, *, followed: bool
    ) -> AsyncIterator[Redirect | Body]:
        self.asked.append((reference.name, digest))
        yield Redirect(self.redirect) if self.redirect else Body(self._body(), self.size)

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None:
        return self.size

    async def _body(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


def link(origin: Origin, digest: Digest = DIGEST, size: int = len(CONTENT)) -> Link:
    return Link(origin, "quay.io", "team/tool", digest, size, "", 0)


@pytest.fixture(params=[1 << 20, 0], ids=["spooled", "no room"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Spool]:
    """One with room, and one without: a blob that does not fit is passed on."""
    with open_spool(tmp_path, request.param) as spool:
        yield spool


async def pieces(found: Redirect | Body | FileBody) -> AsyncIterator[bytes]:
    """The bytes of *found*, wherever they are."""
    if isinstance(found, FileBody):
        async for extent in found.extents:
            if isinstance(extent, bytes):
                yield extent
            else:
                yield os.pread(extent.descriptor, extent.stop - extent.start, extent.start)
    elif isinstance(found, Body):
        async for piece in found.pieces:
            yield piece


class House:
    """Deliveries and what stands around them."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.layers = Blobs(MemoryObjects())
        self.cache = MemoryCache()
        self.proofs = MemoryProofs()

    def deliveries(self, upstream: Upstream) -> Deliveries:
        access = Access(upstream, self.proofs)
        return Deliveries(Configs(), self.layers, self.cache, upstream, self.spool, access)

    async def taken(self, upstream: Upstream, wanted: Link) -> tuple[bytes, SwellError | None]:
        """What a client of *wanted* has in its hands at the end, and what went wrong."""
        held = b""
        try:
            async with (
                self.deliveries(upstream) as deliveries,
                deliveries.open(wanted) as found,
            ):
                async for piece in pieces(found):
                    held += piece
        except SwellError as error:
            return held, error
        return held, None


@pytest.fixture
def house(spool: Spool) -> House:
    return House(spool)


async def test_an_upstream_blob_passes_through(house: House) -> None:
    """It is asked for in the repository that the link names."""
    upstream = Upstream(b"01234", b"56789", size=10)

    assert await house.taken(upstream, link(Origin.UPSTREAM)) == (CONTENT, None)
    assert upstream.asked == [("quay.io/team/tool", DIGEST)]


@pytest.mark.parametrize(
    "pieces", [(b"01234", b"5678x"), (b"01234", b"5678"), (b"01234", b"56789", b"0"), (b"0123456789x",), ()]
)
async def test_a_wrong_blob_is_never_delivered_to_its_end(house: House, pieces: tuple[bytes, ...]) -> None:
    """Clients must not mistake it for the right blob, even without a check of their own."""
    held, error = await house.taken(Upstream(*pieces), link(Origin.UPSTREAM))

    assert isinstance(error, UpstreamFailed)
    assert len(held) < len(CONTENT)


async def test_a_wrong_length_is_refused_before_the_first_byte(house: House) -> None:
    """At that time the client can still get an error."""
    held, error = await house.taken(Upstream(CONTENT, size=11), link(Origin.UPSTREAM))

    assert (held, type(error)) == (b"", UpstreamFailed)


async def test_a_redirect_is_passed_on(house: House) -> None:
    """A redirect is faster than passing the bytes through."""
    upstream = Upstream(redirect="https://cdn.example/x?sig=1")

    async with (
        house.deliveries(upstream) as deliveries,
        deliveries.open(link(Origin.UPSTREAM)) as found,
    ):
        assert found == Redirect("https://cdn.example/x?sig=1")


async def test_a_config_that_we_made_comes_from_the_documents(house: House) -> None:
    """No registry has it."""
    assert await house.taken(Upstream(), link(Origin.DOCUMENT, CONFIG.digest, 2)) == (b"{}", None)


async def test_a_layer_that_was_added_comes_from_the_store(house: House) -> None:
    """It was verified when it was put there."""
    await house.layers.put(DIGEST, CONTENT)

    assert await house.taken(Upstream(), link(Origin.LAYER)) == (CONTENT, None)


@pytest.mark.parametrize("origin", [Origin.DOCUMENT, Origin.LAYER])
async def test_an_expired_blob_is_unknown(house: House, origin: Origin) -> None:
    """The client gets an error before the first byte."""
    held, error = await house.taken(Upstream(), link(origin))

    assert (held, type(error)) == (b"", BlobUnknown)


async def test_a_transfer_that_fails_fails_for_its_own_readers_only(house: House) -> None:
    """One tenant's registry that refuses must not take a blob from another, whose own registry has it."""
    asked = asyncio.Event()

    class Registries(Upstream):
        @asynccontextmanager
        async def open_blob(
            self, reference: Reference, digest: Digest, part: Span | None, *, followed: bool
        ) -> AsyncIterator[Redirect | Body]:
            if reference.repository == "team/tool":
                asked.set()
                await asyncio.sleep(0.01)
                raise Denied
            async with super().open_blob(reference, digest, part, followed=followed) as found:
                yield found

    upstream = Registries(CONTENT)
    async with house.deliveries(upstream) as deliveries:

        async def taken(wanted: Link) -> bytes:
            async with deliveries.open(wanted) as found:
                return b"".join([piece async for piece in pieces(found)])

        first = asyncio.create_task(taken(link(Origin.UPSTREAM)))
        await asked.wait()
        assert await taken(structs.replace(link(Origin.UPSTREAM), repository="other/tool")) == CONTENT
        with pytest.raises(Denied):
            await first


async def test_a_link_with_a_wrong_size_is_refused(house: House) -> None:
    """Manifests are untrusted: if the sizes differ, the manifest is wrong."""
    await house.cache.for_registry("quay.io").put(DIGEST, CONTENT)

    assert await house.taken(Upstream(CONTENT), link(Origin.UPSTREAM)) == (CONTENT, None)
    held, error = await house.taken(Upstream(CONTENT), link(Origin.UPSTREAM, size=9))
    assert (held, type(error)) == (b"", UpstreamFailed)
