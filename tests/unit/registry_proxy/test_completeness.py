"""An image counts as existing only if its registry has all of it now."""

import pytest

from registry_proxy.image_tree import completeness
from registry_proxy.image_tree.completeness import check_complete
from swell.errors import ManifestUnknown, Unavailable
from swell.oci.digest import Digest
from swell.oci.reference import Reference
from swell.testing.registry import FakeRegistry

TAG = "registry.example.com/builds:1"


async def test_a_complete_image_has_its_digest(registry: FakeRegistry) -> None:
    """The digest of its manifest, or of its index."""
    image = registry.push(TAG, layers=3)
    index = registry.push_index("registry.example.com/builds:2", image, registry.push(TAG, platform="linux/arm64"))

    assert await check_complete(registry, image.reference.at(image.digest)) == image.digest
    assert await check_complete(registry, index.reference) == index.digest


async def test_a_missing_tag_is_noticed(registry: FakeRegistry) -> None:
    """A client has deleted it."""
    image = registry.push(TAG)
    registry.lose(image)

    with pytest.raises(ManifestUnknown):
        await check_complete(registry, image.reference)


@pytest.mark.parametrize("part", ["config", "first layer", "last layer"])
async def test_a_missing_blob_is_noticed(registry: FakeRegistry, part: str) -> None:
    """The tag alone does not show it, and a pull fails in the middle."""
    image = registry.push(TAG, layers=2)
    manifest = image.manifest
    blob = {"config": manifest.config, "first layer": manifest.layers[0], "last layer": manifest.layers[1]}[part]
    registry.lose_blob(image.reference, blob.digest)

    with pytest.raises(ManifestUnknown, match=f"not complete.*{blob.digest}"):
        await check_complete(registry, image.reference)


@pytest.mark.parametrize("part", ["manifest", "layer"])
async def test_a_missing_part_of_one_platform_is_noticed(registry: FakeRegistry, part: str) -> None:
    """An index needs the images of all its platforms, at each level."""
    amd64, arm64 = (registry.push(TAG, platform=platform) for platform in ("linux/amd64", "linux/arm64"))
    nested = registry.push_index("registry.example.com/builds:arm", arm64)
    index = registry.push_index("registry.example.com/builds:all", amd64, nested)
    if part == "manifest":
        registry.lose(arm64)
    else:
        registry.lose_blob(arm64.reference, arm64.manifest.layers[0].digest)

    with pytest.raises(ManifestUnknown):
        await check_complete(registry, index.reference)


async def test_during_an_outage_the_last_known_digest_counts(registry: FakeRegistry) -> None:
    """Pulls of the image continue from the cache then."""
    image = registry.push(TAG)

    class Stale(FakeRegistry):
        async def current_digest(self, reference: Reference) -> tuple[Digest, bool]:
            return image.digest, True

        async def head_blob(self, reference: Reference, digest: Digest) -> int | None:
            raise Unavailable

    assert await check_complete(Stale(), image.reference) == image.digest


async def test_layers_that_clients_fetch_elsewhere_need_not_be_there(registry: FakeRegistry) -> None:
    """Registries do not have the layers of Windows."""
    image = registry.push(TAG)
    layer = image.manifest.fields["layers"][0]
    foreign = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": f"sha256:{64 * '0'}"}
    changed = image.manifest.changed(layers=[layer, {**foreign, "size": 1}])
    odd = registry.push_document(image, changed)

    assert await check_complete(registry, odd.reference) == odd.digest


async def test_a_check_has_bounds(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request must not cost the registry thousands."""
    monkeypatch.setattr(completeness, "MAX_DOCUMENTS", 3)
    monkeypatch.setattr(completeness, "MAX_BLOBS", 4)
    images = [registry.push(TAG, layers=5) for _ in range(5)]
    index = registry.push_index("registry.example.com/builds:all", *images)
    registry.asked.clear()

    assert await check_complete(registry, index.reference) == index.digest
    # the tag, the index, HEAD and GET of two manifests, and four blobs
    assert registry.asked.total() == 1 + 1 + 2 * 2 + 4
