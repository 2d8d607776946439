"""Augmenting an index: which entries change, and which stay."""

import pytest

from registry_proxy.domain.augment import augment
from registry_proxy.domain.index import augment_index, choose
from swell.errors import ManifestUnknown
from swell.oci.digest import digest_of
from swell.oci.media_types import DOCKER_LIST, OCI_INDEX
from swell.oci.platform import parse_platform
from tests.unit.registry_proxy.golden import (
    AMD64,
    ARM64,
    WANTED,
    entry,
    golden_image,
    golden_index,
    hex_digest,
    make_index,
)


def test_golden_index() -> None:
    """The attestation was about the image before; the arm64 image stays as it was."""
    image = golden_image()

    index = augment_index(golden_index(), {image.manifest.digest: augment(image, WANTED).manifest})

    assert index.size == 506
    assert hex_digest(index) == "a70572fa3c740b0d2c1095fd046088ad0f072d6032e8d5a7f19a2cce05a6e10b"


@pytest.mark.parametrize(("platform", "chosen"), [(AMD64, 0), ("arm64", 1), ("linux/arm64/v8", 1)])
def test_the_entry_for_the_platform_is_chosen(platform: str, chosen: int) -> None:
    """However either side spells it."""
    index = golden_index()

    assert choose(index, [parse_platform(platform)]) == (index.manifests[chosen],)


def test_the_entries_for_all_platforms_asked_for_are_chosen() -> None:
    """A build for two platforms is one request, and what it adds is added to both."""
    index = golden_index()

    assert choose(index, [parse_platform(AMD64), parse_platform(ARM64)]) == index.manifests[:2]
    assert choose(index, [parse_platform(AMD64), parse_platform("arm")]) == index.manifests[:1]
    with pytest.raises(ManifestUnknown, match="not made for linux/arm/v7 and windows/amd64, but for"):
        choose(index, [parse_platform("arm"), parse_platform("windows/amd64")])


def test_the_error_for_a_missing_platform_lists_those_that_exist() -> None:
    """The client can choose another platform; attestations are not platforms."""
    with pytest.raises(ManifestUnknown, match=r"not made for windows/amd64, but for linux/amd64, linux/arm64/v8$"):
        choose(golden_index(), [parse_platform("windows/amd64")])


@pytest.mark.parametrize("platform", [AMD64, ARM64])
def test_one_manifest_may_be_for_several_platforms(platform: str) -> None:
    """What has no programs in it runs everywhere, and is listed for each platform; once is enough to augment it."""
    manifest = golden_image().manifest
    index = make_index(*(entry(manifest, os="linux", architecture=name) for name in ("amd64", "arm64", "unknown")))

    assert [chosen.digest for chosen in choose(index, [parse_platform(platform)])] == [manifest.digest]
    assert len(choose(index, [parse_platform(AMD64), parse_platform(ARM64)])) == 1


def test_entries_are_chosen_from_either_family_and_without_a_type() -> None:
    """Registries hold indexes that mix Docker's manifests with the OCI's, or leave the entry's type out."""
    docker, oci = golden_image(docker=True).manifest, golden_image().manifest
    untyped = {"digest": digest_of(b"3"), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}
    index = make_index(
        entry(docker, os="linux", architecture="amd64"), entry(oci, os="linux", architecture="amd64"), untyped
    )

    assert [chosen.digest for chosen in choose(index, [parse_platform(AMD64)])] == [
        docker.digest,
        oci.digest,
        untyped["digest"],
    ]


def test_nested_indexes_are_chosen_when_no_manifest_is() -> None:
    """The specification allows them; the caller reads each one."""
    manifest, nested = golden_image("arm64").manifest, golden_index()
    index = make_index(
        entry(manifest, os="linux", architecture="arm64"), {"digest": nested.digest, "size": 1, "mediaType": OCI_INDEX}
    )

    assert [chosen.digest for chosen in choose(index, [parse_platform(AMD64)])] == [nested.digest]
    assert [chosen.digest for chosen in choose(index, [parse_platform(ARM64)])] == [manifest.digest]


def test_manifests_without_a_platform_are_chosen_when_no_other_is() -> None:
    """The specification allows them; an attestation is about another image."""
    attested, unattested = golden_image("arm64").manifest, golden_image().manifest
    attestation = entry(golden_image(docker=True).manifest) | {
        "annotations": {"vnd.docker.reference.digest": attested.digest}
    }
    index = make_index(entry(attested, os="linux", architecture="arm64"), entry(unattested), attestation)

    assert [chosen.digest for chosen in choose(index, [parse_platform(AMD64)])] == [unattested.digest]
    assert [chosen.digest for chosen in choose(index, [parse_platform(ARM64)])] == [attested.digest]


def test_one_image_may_be_for_several_platforms() -> None:
    """Data has no architecture; which of its entries comes last says nothing."""
    data = golden_image().manifest
    index = make_index(*(entry(data, os="linux", architecture=name) for name in ("amd64", "arm64")))

    assert [chosen.digest for chosen in choose(index, [parse_platform(AMD64)])] == [data.digest]
    assert [chosen.digest for chosen in choose(index, [parse_platform(AMD64), parse_platform(ARM64)])] == [data.digest]


def test_an_index_may_be_empty() -> None:
    """Go writes an empty list as null."""
    index = golden_index().changed(manifests=None)

    assert index.manifests == ()
    assert augment_index(index, {}).manifests == ()


def test_every_entry_of_a_replaced_manifest_is_repointed() -> None:
    """An index may name one manifest twice; embedded copies of the old one go."""
    old, new = golden_image().manifest, augment(golden_image(), WANTED).manifest
    twice = entry(old, os="linux", architecture="amd64") | {"data": "e30=", "x-unknown": "é"}

    index = augment_index(make_index(twice, twice, media_type=DOCKER_LIST), {old.digest: new})

    assert {(made.digest, made.size) for made in index.manifests} == {(new.digest, new.size)}
    assert ["data" in made for made in index.fields["manifests"]] == [False, False]
    assert index.fields["manifests"][0]["x-unknown"] == "é"
    assert index.media_type == DOCKER_LIST


def test_an_index_in_which_nothing_was_replaced_keeps_its_attestations() -> None:
    """They are still true."""
    image = golden_image()

    index = augment_index(golden_index(), {image.manifest.digest: image.manifest})

    assert index.fields == golden_index().fields
