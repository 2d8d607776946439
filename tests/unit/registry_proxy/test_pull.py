"""Pulling: a token gives access to one image, all of it, and to nothing else."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from registry_proxy.domain.link import Origin
from registry_proxy.image_tree.blobs import Located
from registry_proxy.image_tree.tree import Pull
from registry_proxy.pull import Pulls
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import BlobUnknown, DigestInvalid, ManifestInvalid, ManifestUnknown, Unavailable
from swell.oci.digest import digest_of, tag_of
from swell.oci.document import Document, detect
from swell.oci.media_types import DOCKER_MANIFEST, INDEXES, OCI_MANIFEST
from swell.oci.referrers_tag import ReferrersTag
from swell.testing.images import make_layer
from swell.testing.registry import FakeRegistry, Pushed
from tests.unit.registry_proxy.examples import ADDED, NOTHING, UBUNTU, WANTED, pull_of
from tests.unit.registry_proxy.memory import MemoryDocuments, MemoryLayers, MemoryLeases


async def test_adding_nothing_changes_nothing(registry: FakeRegistry, pulls: Pulls) -> None:
    """The bytes are the upstream's, so clients can pin the original digest."""
    base = registry.push(UBUNTU)

    made = await pulls.manifest(pull_of(base), "22.04")

    assert made == base.manifest


async def test_a_contradicting_media_type_matters_only_when_something_is_added(
    registry: FakeRegistry, pulls: Pulls
) -> None:
    """Clients read such an image by the registry's word; a changed one would confirm the wrong type."""
    base = registry.push(UBUNTU)
    content = base.manifest.changed(mediaType=DOCKER_MANIFEST).content
    odd = registry.push_document(base, detect(OCI_MANIFEST, content))

    served = await pulls.manifest(pull_of(odd), "22.04")

    assert (served.media_type, served.content) == (OCI_MANIFEST, content)
    with pytest.raises(ManifestInvalid, match="Nothing can be added"):
        await pulls.manifest(pull_of(odd, WANTED, token="t2"), "22.04")


async def test_adding_to_an_image_makes_another_image(registry: FakeRegistry, pulls: Pulls) -> None:
    """The answer's digest names the answer's bytes; the base image keeps its own."""
    base = registry.push(UBUNTU, layers=2)

    made = await pulls.manifest(pull_of(base, WANTED), "22.04")

    assert made.digest == digest_of(made.content) != base.digest
    assert [layer.digest for layer in made.layers] == [
        *(layer.digest for layer in base.manifest.layers),
        ADDED.gzip_digest,
    ]


async def test_the_image_is_under_its_tag_and_its_digest(registry: FakeRegistry, pulls: Pulls) -> None:
    """Docker requests the tag once, and then the digest in the response."""
    pull = pull_of(registry.push(UBUNTU), WANTED)

    by_tag = await pulls.manifest(pull, "22.04")

    assert await pulls.manifest(pull, by_tag.digest) == by_tag


async def test_additions_to_an_image_by_digest_have_a_tag_made_from_it(registry: FakeRegistry, pulls: Pulls) -> None:
    """The digest in the request names other bytes, so a client that verifies by it gets nothing under it."""
    base = registry.push(UBUNTU)
    pull = structs.replace(pull_of(base, WANTED), image=base.reference.at(base.digest))

    made = await pulls.manifest(pull, tag_of(base.digest))

    assert made.digest == digest_of(made.content) != base.digest
    assert await pulls.manifest(pull, made.digest) == made
    for unknown in (base.digest, "22.04", "latest"):
        with pytest.raises(ManifestUnknown):
            await pulls.manifest(pull, unknown)


async def test_an_unchanged_image_by_digest_has_no_tag(registry: FakeRegistry, pulls: Pulls) -> None:
    """It is served under its digest only."""
    base = registry.push(UBUNTU)
    pull = structs.replace(pull_of(base), image=base.reference.at(base.digest))

    assert await pulls.manifest(pull, base.digest) == base.manifest
    with pytest.raises(ManifestUnknown):
        await pulls.manifest(pull, tag_of(base.digest))


@pytest.mark.parametrize("wanted", [NOTHING, WANTED])
async def test_a_token_keeps_its_image_when_the_tag_moves(
    registry: FakeRegistry, pulls: Pulls, wanted: ContainerConfig
) -> None:
    """All tasks of a run that started on Monday use Monday's image."""
    base = registry.push(UBUNTU)
    monday, tuesday = pull_of(base, wanted, token="t1"), pull_of(base, wanted, token="t2")
    before = await pulls.manifest(monday, "22.04")
    registry.push(UBUNTU)

    assert await pulls.manifest(monday, "22.04") == before
    assert await pulls.manifest(tuesday, "22.04") != before


async def test_two_tokens_for_one_image_have_their_own_additions(registry: FakeRegistry, pulls: Pulls) -> None:
    """Tokens for the same base image may have different container configs."""
    base = registry.push(UBUNTU)
    plain, changed = pull_of(base, token="t1"), pull_of(base, WANTED, token="t2")
    made = await pulls.manifest(changed, "22.04")

    assert await pulls.manifest(plain, "22.04") == base.manifest
    with pytest.raises(ManifestUnknown):
        await pulls.manifest(plain, made.digest)


@pytest.mark.parametrize("wanted", [NOTHING, WANTED])
async def test_nothing_else_of_the_repository_is_reachable(
    registry: FakeRegistry, pulls: Pulls, wanted: ContainerConfig
) -> None:
    """All builds of a team are in one repository, and each token opens one of them (S-2)."""
    pull, secret = pull_of(registry.push(UBUNTU), wanted), registry.push("ubuntu:secret")

    for reference in ("secret", "latest", "", "sha256:short", secret.digest):
        with pytest.raises(ManifestUnknown):
            await pulls.manifest(pull, reference)
    for descriptor in (secret.manifest.config, *secret.manifest.layers):
        with pytest.raises(BlobUnknown):
            await pulls.locate(pull, descriptor.digest)


async def test_a_blob_is_located_where_its_bytes_are(registry: FakeRegistry, pulls: Pulls) -> None:
    """The config is ours, the added layer is in the store, the base's layers stay at the upstream."""
    base = registry.push(UBUNTU)
    pull = pull_of(base, WANTED)
    made = await pulls.manifest(pull, "22.04")

    located = [await pulls.locate(pull, each.digest) for each in (made.config, *made.layers)]

    assert [each.origin for each in located] == [Origin.DOCUMENT, Origin.UPSTREAM, Origin.LAYER]
    assert [each.descriptor for each in located] == [made.config, *made.layers]


async def test_the_blobs_of_an_unchanged_image_are_all_upstream(registry: FakeRegistry, pulls: Pulls) -> None:
    """Without additions, Swell stores no bytes of the image."""
    base = registry.push(UBUNTU, layers=2)
    pull = pull_of(base)

    located = [await pulls.locate(pull, each.digest) for each in (base.manifest.config, *base.manifest.layers)]

    assert {each.origin for each in located} == {Origin.UPSTREAM}


async def test_a_blob_may_be_asked_for_first(registry: FakeRegistry, pulls: Pulls) -> None:
    """A client that has the manifest from elsewhere begins with the layers."""
    base = registry.push("ubuntu:amd64")
    pull = pull_of(registry.push_index(UBUNTU, base), WANTED)

    assert (await pulls.locate(pull, base.manifest.layers[0].digest)).origin == Origin.UPSTREAM


async def test_a_hundred_first_pulls_ask_the_upstream_once(
    registry: FakeRegistry, pulls: Pulls, layers: MemoryLayers
) -> None:
    """A thousand tasks start at once; the registry's rate limit counts every question."""
    base = registry.push(UBUNTU)
    pull = pull_of(base, WANTED)

    made = await asyncio.gather(*(pulls.manifest(pull, "22.04") for _ in range(100)))

    assert len({each.digest for each in made}) == 1
    assert set(registry.asked.values()) == {1}
    assert layers.ensured == [ADDED]


async def test_a_resolved_token_needs_no_upstream(registry: FakeRegistry, pulls: Pulls) -> None:
    """Later pulls work while the registry is unavailable."""
    amd64 = registry.push("ubuntu:amd64")
    pull = pull_of(registry.push_index(UBUNTU, amd64), WANTED)
    index = await pulls.manifest(pull, "22.04")
    registry.away = True

    child = await pulls.manifest(pull, index.manifests[0].digest)

    assert (await pulls.locate(pull, child.config.digest)).origin == Origin.DOCUMENT


async def test_a_replica_that_loses_the_race_serves_the_winners_image(
    registry: FakeRegistry, documents: MemoryDocuments, layers: MemoryLayers
) -> None:
    """Two processes resolve one token while the tag moves; the client sees one image all the same."""

    class Moving(FakeRegistry):
        async def fetch_manifest(self, reference: object) -> Document:
            await winner.manifest(pull, "22.04")
            return moved

    pull, moved = pull_of(registry.push(UBUNTU)), registry.push("ubuntu:moved").manifest
    winner = Pulls(registry, documents, layers, MemoryLeases())
    loser = Pulls(Moving(), documents, layers, MemoryLeases())

    assert await loser.manifest(pull, "22.04") == await winner.manifest(pull, "22.04") != moved


async def test_replicas_that_resolve_at_the_same_time_ask_the_upstream_once(
    registry: FakeRegistry, documents: MemoryDocuments, layers: MemoryLayers
) -> None:
    """Two hundred tasks start behind three replicas; the registry sees one."""
    amd64 = registry.push("ubuntu:amd64")
    arm64 = registry.push("ubuntu:arm64", platform="linux/arm64")
    pull, leases = pull_of(registry.push_index(UBUNTU, amd64, arm64), WANTED), MemoryLeases()
    replicas = [Pulls(registry, documents, layers, leases) for _ in range(3)]

    made = await asyncio.gather(*(replica.manifest(pull, "22.04") for replica in replicas * 20))
    await asyncio.gather(*(replica.manifest(pull, arm64.digest) for replica in replicas * 20))

    assert len({each.digest for each in made}) == 1
    assert set(registry.asked.values()) == {1}


async def test_the_next_replica_tries_when_the_first_has_failed(
    registry: FakeRegistry, documents: MemoryDocuments, layers: MemoryLayers
) -> None:
    """A lease ends with its work, successful or not."""
    base, leases = registry.push(UBUNTU), MemoryLeases()
    replicas = [Pulls(registry, documents, layers, leases) for _ in range(2)]
    registry.away = True
    with pytest.raises(Unavailable):
        await replicas[0].manifest(pull_of(base), "22.04")
    registry.away = False

    assert await replicas[1].manifest(pull_of(base), "22.04") == base.manifest


async def test_what_refers_to_an_image_can_be_had_through_its_token(registry: FakeRegistry, pulls: Pulls) -> None:
    """A signature is worth something only when it can be read: its manifest, its config and its layers."""
    amd64 = registry.push("ubuntu:amd64")
    index = registry.push_index(UBUNTU, amd64)
    signature, sbom = registry.refer(index, "signature"), registry.refer(amd64, "sbom")
    pull = pull_of(index)

    for subject, referrer in ((index, signature), (amd64, sbom)):
        referrers_index = await pulls.referrers(pull, subject.digest)

        assert [entry.digest for entry in referrers_index.manifests] == [referrer.digest]
        assert await pulls.manifest(pull, referrer.digest) == referrer.manifest
        for descriptor in (referrer.manifest.config, *referrer.manifest.layers):
            assert (await pulls.locate(pull, descriptor.digest)).origin == Origin.UPSTREAM


async def test_a_referrer_is_readable_after_it_was_listed_and_for_that_token_only(
    registry: FakeRegistry, pulls: Pulls
) -> None:
    """A token gives access only to referrers that it listed before."""
    base = registry.push(UBUNTU)
    signature = registry.refer(base, "signature")
    here, there = pull_of(base, token="t1"), pull_of(base, token="t2")
    await pulls.referrers(here, base.digest)

    assert await pulls.manifest(here, signature.digest) == signature.manifest
    with pytest.raises(ManifestUnknown):
        await pulls.manifest(there, signature.digest)
    with pytest.raises(BlobUnknown):
        await pulls.locate(there, signature.manifest.config.digest)


async def test_tags_of_referrers_are_served(registry: FakeRegistry, pulls: Pulls) -> None:
    """Clients look for signatures under `sha256-<hex>` and, older ones, under `.sig`; with the blobs of both."""
    base = registry.push(UBUNTU)
    tag = str(ReferrersTag(base.digest))
    listed, signed = registry.refer(base, "listed"), registry.push(f"{base.reference.name}:{tag}.sig")
    pull = pull_of(base)

    index = await pulls.manifest(pull, tag)
    assert [entry.digest for entry in index.manifests] == [listed.digest]
    assert await pulls.manifest(pull, f"{tag}.sig") == signed.manifest
    for manifest in (listed.manifest, signed.manifest):
        assert await pulls.manifest(pull, manifest.digest) == manifest
        assert (await pulls.locate(pull, manifest.config.digest)).origin == Origin.UPSTREAM


async def test_tags_of_other_images_are_not_served(registry: FakeRegistry, pulls: Pulls) -> None:
    """A token does not give access to signatures of other images."""
    base, secret = registry.push(UBUNTU), registry.push("ubuntu:secret")
    for each in (base, secret):
        registry.push(f"{each.reference.name}:{ReferrersTag(each.digest)}.sig")
        registry.refer(each, "listed")

    for suffix in ("", ".sig", ".att"):
        for pull in (pull_of(base), pull_of(base, WANTED, token="t2")):
            with pytest.raises(ManifestUnknown):
                await pulls.manifest(pull, f"{ReferrersTag(secret.digest)}{suffix}")


async def test_other_images_have_no_referrers(registry: FakeRegistry, pulls: Pulls) -> None:
    """Their signatures are not visible, whether the token adds something or not."""
    base, secret = registry.push(UBUNTU), registry.push("ubuntu:secret")
    registry.refer(secret, "other")

    for pull in (pull_of(base), pull_of(base, WANTED, token="t2")):
        assert (await pulls.referrers(pull, secret.digest)).manifests == ()
    assert not any("referrers" in name for name in registry.asked)


async def test_a_digest_of_another_algorithm_names_the_same_bytes(registry: FakeRegistry, pulls: Pulls) -> None:
    """An index may name its images by sha512; what is kept for the token is found under that name again."""
    child = registry.push("ubuntu:amd64")
    index = registry.push_index(UBUNTU, child, sha512=True)
    (entry,) = index.manifest.manifests
    pull = pull_of(index)

    assert entry.digest.startswith("sha512:")
    assert await pulls.manifest(pull, entry.digest) == child.manifest
    registry.away = True
    assert await pulls.manifest(pull, entry.digest) == child.manifest
    assert (await pulls.locate(pull, child.manifest.config.digest)).origin == Origin.UPSTREAM


async def test_an_image_granted_by_digest_is_never_shown_with_additions(registry: FakeRegistry, pulls: Pulls) -> None:
    """That digest names other bytes."""
    base = registry.push(UBUNTU)
    pull = msgspec.structs.replace(pull_of(base, WANTED), image=base.reference.at(base.digest))

    with pytest.raises(ManifestUnknown):
        await pulls.manifest(pull, base.digest)


async def test_documents_of_a_token_are_removed_with_it(
    registry: FakeRegistry, pulls: Pulls, documents: MemoryDocuments
) -> None:
    """Revoking a token removes its documents."""
    base = registry.push(UBUNTU)
    made = await pulls.manifest(pull_of(base, WANTED), "22.04")
    await pulls.manifest(pull_of(base, token="t2"), "22.04")

    await pulls.remove("t1")

    assert (await documents.root("t1"), await documents.get("t1", made.digest)) == (None, None)
    assert not await documents.has_created_config("t1", made.config.digest)
    assert await documents.root("t2") == base.manifest


async def test_a_layer_that_is_not_what_it_claims_stops_the_pull(
    registry: FakeRegistry, pulls: Pulls, layers: MemoryLayers
) -> None:
    """No byte under a wrong digest; and nothing is pinned, so a mended layer works."""
    pull = pull_of(registry.push(UBUNTU), WANTED)
    layers.broken.add(ADDED)
    with pytest.raises(DigestInvalid):
        await pulls.manifest(pull, "22.04")
    layers.broken.clear()

    assert ADDED.gzip_digest in {layer.digest for layer in (await pulls.manifest(pull, "22.04")).layers}


async def test_an_upstream_error_is_not_cached(registry: FakeRegistry, pulls: Pulls) -> None:
    """An error is not cached: the next pull tries the registry again."""
    base = registry.push(UBUNTU)
    registry.away = True
    with pytest.raises(Unavailable):
        await pulls.manifest(pull_of(base), "22.04")
    registry.away = False

    assert await pulls.manifest(pull_of(base), "22.04") == base.manifest


LAYERS = [make_layer(f"added {number}") for number in range(3)]
PLATFORMS = ["linux/amd64", "linux/arm64", "linux/arm/v7"]


@st.composite
def pushes(draw: st.DrawFn, registry: FakeRegistry, depth: int = 2) -> Pushed:
    """An image for linux/amd64, or an index that has one somewhere among other platforms."""
    docker = draw(st.booleans())
    if not depth or draw(st.booleans()):
        return registry.push(UBUNTU, layers=draw(st.integers(0, 3)), docker=docker)
    children = [draw(pushes(registry, depth - 1))]
    children += [registry.push("ubuntu:other", platform=each) for each in draw(st.sets(st.sampled_from(PLATFORMS[1:])))]
    return registry.push_index(UBUNTU, *draw(st.permutations(children)), docker=docker)


container_configs = st.builds(
    ContainerConfig,
    entrypoint=st.none() | st.just(("/usr/bin/tini",)),
    env=st.none() | st.tuples(st.text(max_size=8).map(lambda value: f"NAME={value}")),
    layers=st.lists(st.sampled_from(LAYERS), max_size=3, unique=True).map(
        lambda layers: tuple(layer.to_add() for layer in layers)
    ),
)


@given(data=st.data(), wanted=container_configs)
async def test_every_document_of_a_token_can_be_pulled(data: st.DataObject, wanted: ContainerConfig) -> None:
    """Every digest below the root names bytes of that digest and size (10.4)."""
    registry, documents = FakeRegistry(), MemoryDocuments()
    pulls = Pulls(registry, documents, MemoryLayers(), MemoryLeases())
    pull = pull_of(data.draw(pushes(registry)), wanted)

    async for manifest in _manifests(pulls, pull, "22.04"):
        for descriptor in (manifest.config, *manifest.layers):
            located = await pulls.locate(pull, descriptor.digest)
            content = await _content(located, pull, registry, documents)
            assert located.descriptor == descriptor
            assert (digest_of(content), len(content)) == (descriptor.digest, descriptor.size)


async def _manifests(pulls: Pulls, pull: Pull, reference: str) -> AsyncIterator[Document]:
    """Walk as a client does, checking what each index says of its entries."""
    document = await pulls.manifest(pull, reference)
    if document.kind not in INDEXES:
        yield document
        return
    for entry in document.manifests:
        child = await pulls.manifest(pull, entry.digest)
        assert (child.digest, child.size, child.media_type) == (entry.digest, entry.size, entry.media_type)
        async for manifest in _manifests(pulls, pull, entry.digest):
            yield manifest


async def _content(located: Located, pull: Pull, registry: FakeRegistry, documents: MemoryDocuments) -> bytes:
    digest = located.descriptor.digest
    match located.origin:
        case Origin.UPSTREAM:
            return registry.blob(pull.image, digest)
        case Origin.LAYER:
            return next(layer.gzipped for layer in LAYERS if layer.digest == digest)
        case Origin.DOCUMENT:
            config = await documents.config(digest)
            assert config
            return config.content


async def test_a_layer_by_url_is_stored_at_submission(pulls: Pulls, layers: MemoryLayers) -> None:
    """The first pull must not wait for a fetch, and the URL may stop working."""
    await pulls.store_layer(ContainerLayer("https://example.com/context.tar.gz"))

    assert [layer.location for layer in layers.ensured] == ["https://example.com/context.tar.gz"]
