"""The image cache: few requests, no sharing between credentials, and stale documents while a registry fails."""

import asyncio
from typing import Self

import pytest
from prometheus_client import REGISTRY

from registry_proxy.adapters import image_cache as module
from registry_proxy.adapters.image_cache import ACCESS_SECONDS, TAG_SECONDS, ImageCache
from swell.errors import Denied, ManifestUnknown, SwellError, TooManyRequests, UpstreamBroken, UpstreamFailed
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_CONFIG, OCI_MANIFEST
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import OPERATOR, Principal

DAY = 24 * 3600
TAG = parse_reference("quay.io/team/tool:1")
OTHER = parse_reference("quay.io/team/other:1")


def served_stale() -> float:
    """The operator's counter."""
    return REGISTRY.get_sample_value("swell_stale_served_total", {"what": "tag"}) or 0.0


class Registry:
    """Has documents under references, and says what it was asked; with `trouble` it raises that instead."""

    def __init__(self) -> None:
        self.has: dict[str, Document] = {}
        self.asked: list[str] = []
        self.trouble: SwellError | None = None
        self.silence = 0.0

    def acting_for(self, principal: Principal) -> Self:
        return self

    def host_name(self, registry: str) -> str:
        return f"https://{registry}"

    def push(self, reference: Reference, text: str = "{}") -> Document:
        document = Document(OCI_MANIFEST, text.encode())
        self.has[str(reference)] = self.has[str(reference.at(document.digest))] = document
        return document

    async def head_manifest(self, reference: Reference) -> Digest:
        return (await self._answer("HEAD", reference)).digest

    async def fetch_manifest(self, reference: Reference) -> Document:
        return await self._answer("GET", reference)

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None:
        return (await self._answer("HEAD", reference.at(digest))).size

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document:
        document = await self._answer("GET", reference.at(descriptor.digest))
        if document.size != descriptor.size:
            raise UpstreamFailed("another size")
        return document

    async def fetch_referrers(self, reference: Reference) -> Document | None:
        return await self._answer("GET", reference)

    async def _answer(self, method: str, reference: Reference) -> Document:
        self.asked.append(f"{method} {reference}")
        await asyncio.sleep(self.silence)
        if self.trouble:
            raise self.trouble
        if found := self.has.get(str(reference)):
            return found
        raise ManifestUnknown


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(registry: Registry, clock: Clock) -> ImageCache:
    return ImageCache(registry, Keyring(), now=clock)


async def test_the_current_digest_is_the_registry_s(registry: Registry, kept: ImageCache) -> None:
    """A tag that was read a moment ago may have moved, or be gone; only during an outage the cache has to do."""
    first = registry.push(TAG)
    assert await kept.head_manifest(TAG) == first.digest
    second = registry.push(TAG, '{"a":1}')

    assert await kept.current_digest(TAG) == (second.digest, False)
    assert await kept.head_manifest(TAG) == second.digest
    registry.trouble = UpstreamFailed("closed")
    assert await kept.current_digest(TAG) == (second.digest, True)
    registry.trouble = None
    del registry.has[str(TAG)]
    with pytest.raises(ManifestUnknown):
        await kept.current_digest(TAG)


async def test_a_document_by_digest_is_read_once(registry: Registry, kept: ImageCache) -> None:
    """It never changes; by its tag or its digest, and by hundred at once."""
    digest = registry.push(TAG).digest

    await asyncio.gather(*(kept.fetch_manifest(TAG) for _ in range(100)))
    await asyncio.gather(*(kept.fetch_manifest(TAG.at(digest)) for _ in range(100)))

    assert registry.asked == [f"GET {TAG}"]


async def test_a_tag_that_is_known_costs_a_head_at_most(registry: Registry, kept: ImageCache, clock: Clock) -> None:
    """Registries count GETs of manifests against their pull limits, not HEADs."""
    first = registry.push(TAG)
    await kept.fetch_manifest(TAG)
    clock.now += TAG_SECONDS + 1
    assert await kept.fetch_manifest(TAG) == first

    second = registry.push(TAG, '{"a": 1}')
    clock.now += TAG_SECONDS + 1

    assert await kept.fetch_manifest(TAG) == second
    assert registry.asked == [f"GET {TAG}", f"HEAD {TAG}", f"HEAD {TAG}", f"GET {TAG.at(second.digest)}"]


async def test_what_was_resolved_for_a_request_is_what_its_first_pull_reads(
    registry: Registry, kept: ImageCache
) -> None:
    """A tag that moves in these seconds must not make the submission's answer a lie."""
    first = registry.push(TAG)
    assert await kept.head_manifest(TAG) == first.digest
    registry.push(TAG, '{"moved": true}')

    assert await kept.fetch_manifest(TAG) == first
    assert registry.asked == [f"HEAD {TAG}", f"GET {TAG.at(first.digest)}"]


async def test_a_cached_document_serves_only_its_repository(registry: Registry, kept: ImageCache) -> None:
    """Knowing a private image's digest must not be enough to read it through another repository."""
    digest = registry.push(TAG).digest
    registry.push(OTHER, '{"other": 1}')
    await kept.fetch_manifest(TAG)
    await kept.fetch_manifest(OTHER)

    with pytest.raises(ManifestUnknown):
        await kept.fetch_manifest(OTHER.at(digest))


async def test_cached_documents_are_bound_to_their_credentials(registry: Registry, clock: Clock) -> None:
    """A repository may show different images to different credentials."""
    document = registry.push(TAG)
    entries = {"quay.io/team": Credentials("me", "a")}
    kept = ImageCache(registry, Keyring(entries), now=clock).acting_for(OPERATOR)
    await kept.fetch_manifest(TAG)
    entries["quay.io/team"] = Credentials("me", "b")

    await kept.fetch_manifest(TAG.at(document.digest))

    assert registry.asked == [f"GET {TAG}", f"GET {TAG.at(document.digest)}"]


async def test_one_principals_documents_answer_no_other(registry: Registry, kept: ImageCache) -> None:
    """What the operator's credentials opened is no answer for the public."""
    document = registry.push(TAG)
    await kept.acting_for(OPERATOR).fetch_manifest(TAG)

    await kept.fetch_manifest(TAG.at(document.digest))
    await kept.acting_for(OPERATOR).fetch_manifest(TAG.at(document.digest))

    assert registry.asked == [f"GET {TAG}", f"GET {TAG.at(document.digest)}"]


async def test_access_is_checked_again_after_five_minutes(registry: Registry, kept: ImageCache, clock: Clock) -> None:
    """Access may have been revoked; then cached documents are not served, fresh or stale."""
    digest = registry.push(TAG).digest
    await kept.fetch_manifest(TAG)
    clock.now += ACCESS_SECONDS + 1
    registry.trouble = Denied()
    with pytest.raises(Denied):
        await kept.fetch_manifest(TAG.at(digest))

    registry.trouble = UpstreamFailed("away")

    for reference in (TAG, TAG.at(digest)):
        with pytest.raises(UpstreamFailed):
            await kept.fetch_manifest(reference)


async def test_a_document_that_was_hidden_is_not_served_stale(
    registry: Registry, kept: ImageCache, clock: Clock
) -> None:
    """Some registries answer 404 instead of 403; an outage after it does not bring the document back."""
    digest = registry.push(TAG).digest
    await kept.fetch_manifest(TAG)
    clock.now += ACCESS_SECONDS + 1
    registry.trouble = ManifestUnknown()
    with pytest.raises(ManifestUnknown):
        await kept.fetch_manifest(TAG.at(digest))

    registry.trouble = UpstreamFailed("away")

    with pytest.raises(UpstreamFailed):
        await kept.fetch_manifest(TAG.at(digest))


async def test_seeing_that_access_is_still_there_costs_a_head(
    registry: Registry, kept: ImageCache, clock: Clock
) -> None:
    """And holds for the next five minutes."""
    document = registry.push(TAG)
    by_digest = TAG.at(document.digest)
    await kept.fetch_manifest(TAG)
    clock.now += ACCESS_SECONDS + 1

    for _ in range(3):
        assert await kept.fetch_manifest(by_digest) == document

    assert registry.asked == [f"GET {TAG}", f"HEAD {by_digest}"]


@pytest.mark.parametrize("trouble", [UpstreamBroken("away"), UpstreamFailed("500"), TooManyRequests(retry_after=60)])
async def test_stale_documents_are_served_while_a_registry_fails(
    registry: Registry, kept: ImageCache, clock: Clock, trouble: SwellError
) -> None:
    """The last digest of the tag is served and marked stale; documents by digest are never stale."""
    document = registry.push(TAG)
    await kept.fetch_manifest(TAG)
    clock.now += DAY - 1
    registry.trouble = trouble
    before = served_stale()

    stale = await kept.fetch_manifest(TAG)

    assert (stale.content, stale.stale) == (document.content, True)
    assert served_stale() == before + 1
    assert await kept.head_manifest(TAG) == document.digest
    assert not (await kept.fetch_manifest(TAG.at(document.digest))).stale


async def test_a_silent_registry_is_waited_for_only_so_long(
    registry: Registry, kept: ImageCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is something to serve: the client behind waits less long than the registry may take."""
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    document = registry.push(TAG)
    await kept.fetch_manifest(TAG)
    clock.now += ACCESS_SECONDS + 1
    registry.silence = 60

    async with asyncio.timeout(30):
        assert (await kept.fetch_manifest(TAG)).stale
        assert await kept.fetch_manifest(TAG.at(document.digest)) == document


async def test_documents_older_than_the_limit_are_not_served(
    registry: Registry, kept: ImageCache, clock: Clock
) -> None:
    """A day-old `latest` helps; a month-old one does harm."""
    digest = registry.push(TAG).digest
    await kept.fetch_manifest(TAG)
    clock.now += DAY + 1
    registry.trouble = UpstreamFailed("away")

    for reference in (TAG, TAG.at(digest)):
        with pytest.raises(UpstreamFailed):
            await kept.fetch_manifest(reference)


async def test_a_removed_tag_is_not_served_stale(registry: Registry, kept: ImageCache, clock: Clock) -> None:
    """A 404 response is a result, not a failure."""
    registry.push(TAG)
    await kept.fetch_manifest(TAG)
    clock.now += TAG_SECONDS + 1
    registry.has.clear()
    with pytest.raises(ManifestUnknown):
        await kept.fetch_manifest(TAG)

    registry.trouble = UpstreamFailed("away")

    with pytest.raises(UpstreamFailed):
        await kept.fetch_manifest(TAG)


async def test_a_registry_that_is_available_again_is_used(registry: Registry, kept: ImageCache, clock: Clock) -> None:
    """The stale mark ends with the outage."""
    registry.push(TAG)
    await kept.fetch_manifest(TAG)
    clock.now += TAG_SECONDS + 1
    registry.trouble = UpstreamFailed("away")
    assert (await kept.fetch_manifest(TAG)).stale
    registry.trouble = None
    moved = registry.push(TAG, '{"moved": true}')

    assert await kept.fetch_manifest(TAG) == moved


async def test_a_config_has_the_size_and_type_that_its_manifest_says(registry: Registry, kept: ImageCache) -> None:
    """Two manifests may name one config, one of them wrongly."""
    document = registry.push(TAG)
    right = Descriptor(media_type=OCI_CONFIG, digest=document.digest, size=document.size)

    for _ in range(2):
        assert await kept.fetch_config(TAG, right) == Document(OCI_CONFIG, document.content)
    with pytest.raises(UpstreamFailed):
        await kept.fetch_config(TAG, Descriptor(media_type=OCI_CONFIG, digest=document.digest, size=1))

    assert len(registry.asked) == 2


async def test_memory_is_bounded_by_bytes(registry: Registry, kept: ImageCache) -> None:
    """Forty images of a megabyte exceed the limit; the first one is read again."""
    images = [parse_reference(f"quay.io/team/tool:{number}") for number in range(40)]
    for number, image in enumerate(images):
        registry.push(image, f'{{"{number}": "{"x" * (1 << 20)}"}}')
        await kept.fetch_manifest(image)
    registry.asked.clear()

    first = registry.has[str(images[0])]
    assert await kept.fetch_manifest(images[0].at(digest_of(first.content))) == first

    assert len(registry.asked) == 1
