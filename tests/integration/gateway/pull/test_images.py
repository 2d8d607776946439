"""The cache of images: content that cannot change is fetched once."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest

from gateway.adapters.registry_proxy.image_lookup import COMPLETE_SECONDS, CachedLookup, RemoteLookup
from gateway.adapters.registry_proxy.images import CachedImages, RemoteImages
from gateway.domain.grant import Grant
from gateway.domain.location import Location
from swell.api.containers import ContainerLayer
from swell.errors import ManifestUnknown
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_MANIFEST
from swell.oci.platform import Platform
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import OPERATOR, PUBLIC, Principal
from tests.integration.gateway.grants import make_grant

UBUNTU = parse_reference("ubuntu:22.04")
DIGEST = digest_of(b"a layer")


class Remote(RemoteImages):
    """Answers a moment later, and counts the questions; *life* is that of its locations, in seconds."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.life = 900
        self.size = 1000
        self.away = False

    async def ask(self, question: str) -> None:
        self.asked[question] += 1
        await asyncio.sleep(0)
        if self.away:
            raise ManifestUnknown

    async def manifest(self, grant: Grant, reference: str) -> Document:
        await self.ask(f"{grant.token} {reference}")
        return Document(OCI_MANIFEST, f"{grant.token} {reference}".encode().ljust(self.size))

    async def locate(self, grant: Grant, digest: Digest) -> Location:
        await self.ask(f"{grant.token} {digest}")
        return Location(f"http://data.test/{self.asked.total()}", 3, "", int(time.time()) + self.life)

    async def referrers(self, grant: Grant, digest: Digest) -> bytes:
        await self.ask(f"referrers of {digest}")
        return b"{}"


class Lookup(RemoteLookup):
    """Answers a moment later, and counts the questions with *remote*."""

    def __init__(self, remote: Remote) -> None:
        self._ask = remote.ask

    async def resolve(
        self, image: Reference, principal: Principal = PUBLIC, platforms: Sequence[Platform] = ()
    ) -> Digest:
        await self._ask(str(image))
        return digest_of(b"the image")

    async def keep(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        await self._ask(layer.location)

    async def resolve_complete(self, image: Reference, principal: Principal = PUBLIC) -> Digest:
        await self._ask(f"all of {image} for {principal}")
        return digest_of(b"the image")


@pytest.fixture
def remote() -> Remote:
    return Remote()


@pytest.fixture
def images(remote: Remote) -> CachedImages:
    return CachedImages(remote, size=10_000)


@pytest.fixture
def lookup(remote: Remote) -> CachedLookup:
    return CachedLookup(Lookup(remote))


async def test_a_manifest_is_asked_for_once(remote: Remote, images: CachedImages) -> None:
    """A warm pull makes no call."""
    first = await images.manifest(make_grant(), "22.04")

    assert await images.manifest(make_grant(), "22.04") is first
    assert remote.asked.total() == 1


async def test_a_hundred_that_miss_at_once_ask_once(remote: Remote, images: CachedImages, lookup: CachedLookup) -> None:
    """A thousand tasks start together; behind the gateway it is one pull."""
    grant = make_grant()

    await asyncio.gather(*(images.manifest(grant, "22.04") for _ in range(100)))
    await asyncio.gather(*(images.locate(grant, DIGEST) for _ in range(100)))
    await asyncio.gather(*(lookup.resolve(UBUNTU) for _ in range(100)))

    assert set(remote.asked.values()) == {1}


async def test_a_whole_image_is_checked_once_a_second_for_each_principal(remote: Remote) -> None:
    """A check asks for every blob: a client that repeats its request must not multiply that, nor learn of another's."""
    now = [0.0]
    lookup = CachedLookup(Lookup(remote), now=lambda: now[0])
    for principal in (PUBLIC, OPERATOR, PUBLIC):
        await lookup.resolve_complete(UBUNTU, principal)
    assert set(remote.asked.values()) == {1}
    assert len(remote.asked) == 2

    now[0] = COMPLETE_SECONDS + 0.1
    await lookup.resolve_complete(UBUNTU)

    assert remote.asked[f"all of {UBUNTU} for {PUBLIC}"] == 2


async def test_each_token_and_reference_has_its_own_answer(images: CachedImages) -> None:
    """Two tokens for one tag may see two images."""
    asked = [("a", "1"), ("a", "2"), ("b", "1")]
    for _ in range(2):
        contents = [(await images.manifest(make_grant(token), reference)).content.split() for token, reference in asked]

        assert contents == [[token.encode(), reference.encode()] for token, reference in asked]


async def test_the_memory_is_bounded_by_bytes(remote: Remote, images: CachedImages) -> None:
    """Of ten manifests with 1000 bytes each, and what holds them, the last six fit into 10,000 bytes."""
    grant = make_grant()
    for reference in map(str, range(10)):
        await images.manifest(grant, reference)
    remote.asked.clear()
    for reference in map(str, reversed(range(10))):
        await images.manifest(grant, reference)

    assert len(remote.asked) == 4


async def test_a_manifest_larger_than_the_memory_is_served_all_the_same(remote: Remote, images: CachedImages) -> None:
    """A document that the cache cannot hold is fetched each time."""
    remote.size = 20_000

    assert (await images.manifest(make_grant(), "22.04")).size == 20_000
    assert (await images.manifest(make_grant(), "22.04")).size == 20_000
    assert remote.asked.total() == 2


async def test_an_error_is_not_remembered(remote: Remote, images: CachedImages) -> None:
    """The next pull may succeed."""
    remote.away = True
    with pytest.raises(ManifestUnknown):
        await images.manifest(make_grant(), "22.04")
    remote.away = False

    assert await images.manifest(make_grant(), "22.04")


async def test_a_location_is_used_while_it_lives(remote: Remote, images: CachedImages) -> None:
    """Presigned URLs expire, so a cached one is replaced in time."""
    grant = make_grant()

    assert await images.locate(grant, DIGEST) == await images.locate(grant, DIGEST)
    assert remote.asked.total() == 1


async def test_a_location_that_is_about_to_expire_is_renewed(remote: Remote, images: CachedImages) -> None:
    """A client follows the redirect after it got it, on a slow line maybe half a minute later."""
    grant, remote.life = make_grant(), 45
    first = await images.locate(grant, DIGEST)

    assert await images.locate(grant, DIGEST) != first


async def test_a_location_is_used_up_to_the_end_of_its_token(remote: Remote, images: CachedImages) -> None:
    """No other one would live longer: asking again for each blob of the last minute would cost a call each."""
    grant = make_grant(life=timedelta(seconds=40))
    remote.life = 45

    assert await images.locate(grant, DIGEST) == await images.locate(grant, DIGEST)


async def test_the_memory_of_locations_is_bounded_by_bytes(remote: Remote, images: CachedImages) -> None:
    """A registry chooses the names of its media types, so their number says nothing of their size."""
    digests = [digest_of(str(number).encode()) for number in range(10)]
    for digest in digests:
        await images.locate(make_grant(), digest)
    remote.asked.clear()
    for digest in reversed(digests):
        await images.locate(make_grant(), digest)

    assert len(remote.asked) == 6


async def test_referrers_are_asked_for_each_time(remote: Remote, images: CachedImages) -> None:
    """A signature may have come since."""
    for _ in range(2):
        await images.referrers(make_grant(), DIGEST)

    assert remote.asked.total() == 2


async def test_a_digest_that_was_resolved_is_known_for_a_moment(remote: Remote, lookup: CachedLookup) -> None:
    """A pipeline submits the same image for each of its processes."""
    assert await lookup.resolve(UBUNTU) == await lookup.resolve(UBUNTU)
    assert remote.asked.total() == 1


async def test_a_digest_is_cached_for_one_principal(remote: Remote, lookup: CachedLookup) -> None:
    """That the operator's credentials find an image is no answer for the public."""
    await lookup.resolve(UBUNTU, OPERATOR)
    await lookup.resolve(UBUNTU)

    assert remote.asked.total() == 2


async def test_a_layer_is_kept_each_time_it_is_submitted(remote: Remote, lookup: CachedLookup) -> None:
    """Whether it is there already, the store knows, not we."""
    for _ in range(2):
        await lookup.keep(ContainerLayer("https://example.com/a.tar.gz"))

    assert remote.asked.total() == 2
