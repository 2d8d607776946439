"""Referrers of augmented images: their provenance, signatures at the pull, and the signatures of their base."""

from functools import partial

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from registry_proxy.domain.link import Origin
from registry_proxy.pull import Pulls
from swell.errors import ManifestUnknown
from swell.oci.digest import Digest, hex_of
from swell.oci.referrers_tag import ReferrersTag
from swell.registry.referrers import subject_of
from swell.signing.bundles import sign, verify
from swell.signing.keys import KeySigner, TrustedKeys
from swell.signing.statements import PROVENANCE, SIGNATURE
from swell.testing.registry import FakeRegistry
from tests.unit.registry_proxy.examples import ADDED, UBUNTU, WANTED, pull_of
from tests.unit.registry_proxy.memory import MemoryDocuments, MemoryLayers, MemoryLeases


async def test_an_augmented_image_says_what_it_was_made_of(
    registry: FakeRegistry, pulls: Pulls, documents: MemoryDocuments
) -> None:
    """Its provenance names the digest of the base and what was added, for a client that reads it like a referrer."""
    base = registry.push(UBUNTU)
    pull = pull_of(base, WANTED)
    made = await pulls.manifest(pull, "22.04")

    (entry,) = (await pulls.referrers(pull, made.digest)).manifests
    manifest = await pulls.manifest(pull, entry.digest)
    located = await pulls.locate(pull, manifest.layers[0].digest)
    content = await documents.config(manifest.layers[0].digest)
    assert content is not None
    statement = msgspec.json.decode(content.content)

    assert subject_of(manifest) == made.digest and located.origin is Origin.DOCUMENT
    assert (await pulls.locate(pull, manifest.config.digest)).origin is Origin.DOCUMENT
    assert statement["subject"] == [{"name": base.reference.name, "digest": {"sha256": hex_of(made.digest)}}]
    definition = statement["predicate"]["buildDefinition"]
    digests = [each["digest"]["sha256"] for each in definition["resolvedDependencies"]]
    assert digests == [hex_of(base.digest), hex_of(Digest(str(ADDED.gzip_digest)))]
    assert definition["externalParameters"]["image"] == str(base.reference)
    assert await pulls.referrers(pull, made.digest) == await pulls.referrers(pull, made.digest)


async def test_signatures_of_the_base_stay_reachable(registry: FakeRegistry, pulls: Pulls) -> None:
    """Under the digest of the base: they do not cover the augmented image, and its manifest is not that of the base."""
    base = registry.push(UBUNTU)
    tag = str(ReferrersTag(base.digest))
    listed, signed = registry.refer(base, "listed"), registry.push(f"{base.reference.name}:{tag}.sig")
    pull = pull_of(base, WANTED)
    made = await pulls.manifest(pull, "22.04")

    assert [entry.digest for entry in (await pulls.referrers(pull, base.digest)).manifests] == [listed.digest]
    assert [entry.digest for entry in (await pulls.manifest(pull, tag)).manifests] == [listed.digest]
    assert await pulls.manifest(pull, f"{tag}.sig") == signed.manifest
    for manifest in (listed.manifest, signed.manifest):
        assert await pulls.manifest(pull, manifest.digest) == manifest
        assert (await pulls.locate(pull, manifest.config.digest)).origin is Origin.UPSTREAM
    assert listed.digest not in [entry.digest for entry in (await pulls.referrers(pull, made.digest)).manifests]
    with pytest.raises(ManifestUnknown):
        await pulls.manifest(pull, base.digest)


async def test_each_platform_of_an_augmented_index_has_a_provenance(registry: FakeRegistry, pulls: Pulls) -> None:
    """Signatures of the platforms of the base are reachable as well."""
    child = registry.push("ubuntu:amd64")
    index = registry.push_index(UBUNTU, child)
    signature = registry.refer(child, "signature")
    pull = pull_of(index, WANTED)
    made = await pulls.manifest(pull, "22.04")

    for digest in (made.digest, made.manifests[0].digest):
        assert len((await pulls.referrers(pull, digest)).manifests) == 1
    assert [each.digest for each in (await pulls.referrers(pull, child.digest)).manifests] == [signature.digest]


async def test_augmented_images_are_signed_with_the_operators_key(registry: FakeRegistry) -> None:
    """Each repetition has the same bytes; without the key, nothing is signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    signing = partial(sign, signer=KeySigner(key))
    documents = MemoryDocuments()
    pulls = Pulls(registry, documents, MemoryLayers(), MemoryLeases(), sign=signing)
    base = registry.push(UBUNTU)
    pull = pull_of(base, WANTED)
    made = await pulls.manifest(pull, "22.04")

    index = await pulls.referrers(pull, made.digest)
    manifests = [await pulls.manifest(pull, entry.digest) for entry in index.manifests]

    for manifest, kind in zip(manifests, (PROVENANCE, SIGNATURE), strict=True):
        bundle = await documents.config(manifest.layers[0].digest)
        assert bundle is not None
        verify(bundle.content, TrustedKeys(key.public_key()), made.digest, kind)
    assert await pulls.referrers(pull, made.digest) == index
