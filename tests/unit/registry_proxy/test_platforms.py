"""An image's platforms are checked before a token for it is issued."""

import pytest

from registry_proxy.image_tree import platforms
from registry_proxy.image_tree.resolve import ImageResolver
from swell.errors import BadRequest, BlobUnknown
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX, OCI_MANIFEST
from swell.oci.platform import Platform, parse_platform
from swell.registry.credentials.principal import PUBLIC
from swell.testing.registry import FakeRegistry, Pushed


@pytest.fixture
def resolver(registry: FakeRegistry) -> ImageResolver:
    return ImageResolver(registry)


async def resolve(resolver: ImageResolver, image: Pushed, *names: str) -> Digest:
    return await resolver.resolve(image.reference, PUBLIC, tuple(map(parse_platform, names)))


async def test_an_image_is_for_the_platform_of_its_config(registry: FakeRegistry, resolver: ImageResolver) -> None:
    """A registry sends a single image to clients of any platform."""
    image = registry.push("team/tool:1", platform="linux/arm64")

    assert await resolve(resolver, image, "linux/arm64") == image.digest
    assert await resolve(resolver, image) == image.digest
    with pytest.raises(BadRequest, match=r"team/tool:1 is not made for linux/amd64, but for linux/arm64$"):
        await resolve(resolver, image, "linux/amd64")


async def test_an_index_says_its_platforms(registry: FakeRegistry, resolver: ImageResolver) -> None:
    """All platforms asked for must be there; older variants serve newer machines."""
    children = [registry.push("team/tool:1"), registry.push("team/tool:2", platform="linux/arm/v6")]
    index = registry.push_index("team/tool:all", *children)

    assert await resolve(resolver, index, "linux/amd64/v3", "linux/arm/v7") == index.digest
    with pytest.raises(BadRequest, match=r"not made for linux/s390x, but for linux/amd64, linux/arm/v6$"):
        await resolver.resolve(index.reference, PUBLIC, [Platform("linux", "s390x")])


async def test_nested_indexes_and_configs_are_read_where_the_index_does_not_say(
    registry: FakeRegistry, resolver: ImageResolver
) -> None:
    """As clients do."""
    arm = registry.push("team/tool:arm", platform="linux/arm64")
    nested = registry.push_index("team/tool:nested", arm)
    index = registry.push_index("team/tool:all", registry.push("team/tool:1"), nested)

    assert await resolve(resolver, index, "linux/arm64") == index.digest
    with pytest.raises(BadRequest, match="but for linux/amd64, linux/arm64"):
        await resolve(resolver, index, "linux/arm/v7")


async def test_what_is_not_for_a_platform_passes(registry: FakeRegistry, resolver: ImageResolver) -> None:
    """Charts and SIF files have configs of other types; manifests of schema 1 are passed on as they are."""
    image = registry.push("team/tool:1", platform="linux/arm64")
    fields = image.manifest.fields
    chart = image.manifest.changed(config=fields["config"] | {"mediaType": "application/vnd.cncf.helm.config.v1+json"})
    for number, document in enumerate((chart, Document("application/json", b'{"schemaVersion":1}'))):
        pushed = Pushed(image.reference, document)
        registry._keep(image.reference, document)

        assert await resolve(resolver, pushed, "linux/amd64") == document.digest, number


async def test_a_failed_check_of_platforms_passes(registry: FakeRegistry, resolver: ImageResolver) -> None:
    """The registry may be unavailable; the pull reports the error."""
    image = registry.push("team/tool:1", platform="linux/arm64")
    missing = {"mediaType": OCI_INDEX, "digest": f"sha256:{'0' * 64}", "size": 1}
    index = registry.push_index("team/tool:all", image)
    document = index.manifest.changed(manifests=[*index.manifest.fields["manifests"], missing])
    registry._keep(index.reference, document)

    assert await resolve(resolver, index, "linux/amd64") == document.digest


async def test_a_large_index_is_read_in_part(registry: FakeRegistry, resolver: ImageResolver) -> None:
    """An index may have thousands of entries without a platform."""
    image = registry.push("team/tool:1", platform="linux/arm64")
    entry = {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": image.manifest.size}
    index = registry.push_index("team/tool:all")
    document = index.manifest.changed(manifests=[entry] * 5000)
    registry._keep(index.reference, document)

    assert await resolve(resolver, index, "linux/amd64") == document.digest
    assert registry.asked[str(image.reference.at(image.digest))] == platforms.MAX_DOCUMENTS


async def test_a_blob_is_resolved_if_its_repository_has_it(registry: FakeRegistry, resolver: ImageResolver) -> None:
    """The gateway asks before it gives a client what was built with the blob; a tag names no blob."""
    image = registry.push("team/tool:1", layers=1)
    layer = image.manifest.layers[0].digest

    assert await resolver.resolve_blob(image.reference.at(layer), PUBLIC) == layer
    for other in (image.reference, image.reference.at(f"sha256:{'0' * 64}")):
        with pytest.raises(BlobUnknown):
            await resolver.resolve_blob(other, PUBLIC)
