"""Pulling an index: the container config is added for the requested platforms only."""

import pytest
from msgspec import structs

from registry_proxy.domain.index import MAX_DEPTH
from registry_proxy.domain.link import Origin
from registry_proxy.image_tree.nesting import MAX_NESTED
from registry_proxy.pull import Pulls
from swell.api.containers import ContainerConfig
from swell.errors import BlobUnknown, ManifestInvalid, ManifestUnknown
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.media_types import DOCKER_MANIFEST
from swell.testing.images import make_layer
from swell.testing.registry import FakeRegistry, Pushed
from tests.unit.registry_proxy.examples import ADDED, UBUNTU, WANTED, pull_of


async def test_only_the_chosen_platform_of_an_index_changes(registry: FakeRegistry, pulls: Pulls) -> None:
    """Clients of another platform get the upstream's bytes through the same token."""
    amd64 = registry.push("ubuntu:amd64")
    arm64 = registry.push("ubuntu:arm64", platform="linux/arm64")
    pull = pull_of(registry.push_index(UBUNTU, amd64, arm64), WANTED)

    chosen, other = (await pulls.manifest(pull, "22.04")).manifests
    made = await pulls.manifest(pull, chosen.digest)

    assert made.digest == chosen.digest != amd64.digest
    assert ADDED.gzip_digest in {layer.digest for layer in made.layers}
    assert await pulls.manifest(pull, other.digest) == arm64.manifest


async def test_each_platform_asked_for_gets_the_layers_of_its_own_architecture(
    registry: FakeRegistry, pulls: Pulls
) -> None:
    """Clients send Fusion for all architectures in one list, and other layers for all of them (B27)."""
    fusion = {
        name: make_layer(name).to_add(f"https://example.com/pkg/2/fusion-{name}.tar.gz") for name in ("amd64", "arm64")
    }
    wanted = ContainerConfig(layers=(*fusion.values(), ADDED))
    index = registry.push_index(
        UBUNTU,
        registry.push("ubuntu:amd64"),
        registry.push("ubuntu:arm64", platform="linux/arm64"),
        arm := registry.push("ubuntu:arm", platform="linux/arm/v7"),
    )
    pull = pull_of(index, wanted, platforms=("linux/amd64", "linux/arm64"))

    entries = (await pulls.manifest(pull, "22.04")).manifests
    made = [await pulls.manifest(pull, entry.digest) for entry in entries]

    for name, manifest in zip(("amd64", "arm64"), made, strict=False):
        added = [layer.digest for layer in manifest.layers[1:]]
        assert added == [fusion[name].gzip_digest, ADDED.gzip_digest]
        assert (await pulls.locate(pull, manifest.config.digest)).origin == Origin.DOCUMENT
    assert made[2] == arm.manifest


async def test_the_platforms_asked_for_may_be_in_different_indexes(registry: FakeRegistry, pulls: Pulls) -> None:
    """One beside a nested index, and one inside it."""
    nested = registry.push_index("ubuntu:arm", registry.push("ubuntu:arm64", platform="linux/arm64"))
    amd64 = registry.push("ubuntu:amd64")
    pull = pull_of(registry.push_index(UBUNTU, amd64, nested), WANTED, platforms=("linux/amd64", "linux/arm64"))

    changed, inner = (await pulls.manifest(pull, "22.04")).manifests

    assert changed.digest != amd64.digest
    assert inner.digest != nested.digest


async def test_the_replaced_child_of_an_index_is_gone(registry: FakeRegistry, pulls: Pulls) -> None:
    """The token leads to what was made of it, no longer to it."""
    amd64 = registry.push("ubuntu:amd64")
    pull = pull_of(registry.push_index(UBUNTU, amd64), WANTED)

    with pytest.raises(ManifestUnknown):
        await pulls.manifest(pull, amd64.digest)


async def test_a_nested_index_is_read(registry: FakeRegistry, pulls: Pulls) -> None:
    """Nested indexes are allowed; their images can have the requested platform."""
    amd64 = registry.push("ubuntu:amd64")
    arm64 = registry.push("ubuntu:arm64", platform="linux/arm64")
    inner = registry.push_index("ubuntu:inner", amd64, arm64)
    pull = pull_of(registry.push_index(UBUNTU, inner), WANTED)

    (nested,) = (await pulls.manifest(pull, "22.04")).manifests
    chosen, other = (await pulls.manifest(pull, nested.digest)).manifests
    made = await pulls.manifest(pull, chosen.digest)

    assert ADDED.gzip_digest in {layer.digest for layer in made.layers}
    assert await pulls.manifest(pull, other.digest) == arm64.manifest
    assert (await pulls.locate(pull, made.config.digest)).origin == Origin.DOCUMENT


async def test_nested_indexes_may_be_for_one_platform_each(registry: FakeRegistry, pulls: Pulls) -> None:
    """An index that has nothing for the wanted platform stays as it is, while another one has."""
    arm64 = registry.push_index("ubuntu:arm", registry.push("ubuntu:arm64", platform="linux/arm64"))
    amd64 = registry.push_index("ubuntu:amd", registry.push("ubuntu:amd64"))
    pull = pull_of(registry.push_index(UBUNTU, arm64, amd64), WANTED)

    unchanged, changed = (await pulls.manifest(pull, "22.04")).manifests

    assert unchanged.digest == arm64.digest
    assert changed.digest != amd64.digest


async def test_an_image_for_other_platforms_only_is_unknown(registry: FakeRegistry, pulls: Pulls) -> None:
    """The error lists the platforms that exist."""
    arm64 = registry.push("ubuntu:arm64", platform="linux/arm64")
    nested = registry.push_index("ubuntu:nested", arm64)

    for index in (registry.push_index("ubuntu:flat", arm64), registry.push_index("ubuntu:deep", nested)):
        with pytest.raises(ManifestUnknown, match=r"not made for linux/amd64, but for linux/arm64"):
            await pulls.manifest(pull_of(index, WANTED, token=str(index.reference)), str(index.reference.tag))


async def test_the_config_has_the_platform_that_the_index_lacks(registry: FakeRegistry, pulls: Pulls) -> None:
    """`platform` is optional in an index; what is added reaches the image that is meant, and no other."""
    amd64 = registry.push("ubuntu:amd64")
    arm64 = registry.push("ubuntu:arm64", platform="linux/arm64")
    untold = [structs.replace(each, platform=None) for each in (arm64, amd64)]
    pull = pull_of(registry.push_index(UBUNTU, *untold), WANTED)

    unchanged, changed = (await pulls.manifest(pull, "22.04")).manifests

    assert unchanged.digest == arm64.digest
    assert changed.digest != amd64.digest
    only_arm = registry.push_index("ubuntu:arm", untold[0])
    with pytest.raises(ManifestUnknown, match="not made for linux/amd64"):
        await pulls.manifest(pull_of(only_arm, WANTED, token="t2"), "arm")


async def test_missing_children_of_an_index_are_ignored(registry: FakeRegistry, pulls: Pulls) -> None:
    """Mirrors copy the platforms that they need, and leave the index unchanged."""
    lost = registry.push("ubuntu:lost", platform="linux/arm64")
    lost_index = registry.push_index("ubuntu:nested", lost)
    amd64 = registry.push("ubuntu:amd64")
    inner = registry.push_index("ubuntu:inner", amd64)
    pull = pull_of(registry.push_index(UBUNTU, lost, lost_index, inner))
    registry.lose(lost)
    registry.lose(lost_index)

    layer = amd64.manifest.layers[0].digest
    assert (await pulls.locate(pull, layer)).descriptor.digest == layer
    assert await pulls.manifest(pull, amd64.digest) == amd64.manifest
    with pytest.raises(BlobUnknown):
        await pulls.locate(pull, digest_of(b"unknown"))
    with pytest.raises(ManifestUnknown, match="no part of"):
        await pulls.manifest(pull, digest_of(b"unknown"))
    with pytest.raises(ManifestUnknown, match="was not pushed"):
        await pulls.manifest(pull, lost.digest)


def nested(registry: FakeRegistry, levels: int) -> tuple[Pushed, Pushed]:
    """An image below so many indexes, and the outermost of these."""
    image = registry.push("team/tool:image")
    index = image
    for level in range(levels):
        index = registry.push_index("team/tool:1" if level == levels - 1 else f"team/tool:level{level}", index)
    return image, index


async def test_indexes_are_served_at_every_level(registry: FakeRegistry, pulls: Pulls) -> None:
    """What the root leads to can be pulled, however deep it is."""
    image, root = nested(registry, MAX_DEPTH)
    pull = pull_of(root)

    served = await pulls.manifest(pull, "1")
    while served.is_index:
        served = await pulls.manifest(pull, served.manifests[0].digest)

    assert served == image.manifest
    assert (await pulls.manifest(pull, "1")).digest == root.digest


@pytest.mark.parametrize("wanted", [ContainerConfig(), WANTED], ids=["unchanged", "augmented"])
async def test_indexes_that_are_nested_too_deeply_are_refused_at_the_root(
    registry: FakeRegistry, pulls: Pulls, wanted: ContainerConfig
) -> None:
    """A client that got the root would fail half way down."""
    _, root = nested(registry, MAX_DEPTH + 1)

    with pytest.raises(ManifestInvalid, match="indexes within each other"):
        await pulls.manifest(pull_of(root, wanted), "1")


async def test_an_index_of_very_many_indexes_is_refused(registry: FakeRegistry, pulls: Pulls) -> None:
    """Each costs the registry a request."""
    image = registry.push("team/tool:image")
    children = [
        registry.push_index(f"team/tool:{number}", image, *([image] * number)) for number in range(MAX_NESTED + 1)
    ]
    root = registry.push_index("team/tool:1", *children)

    with pytest.raises(ManifestInvalid, match="more than 64 indexes"):
        await pulls.manifest(pull_of(root), "1")


async def test_an_image_of_a_doubtful_type_is_passed_through(registry: FakeRegistry, pulls: Pulls) -> None:
    """Docker's type outside and the OCI's inside: containerd pulls it. What we made of it would have no right type."""
    image = registry.push("team/tool:1")
    document = Document(DOCKER_MANIFEST, image.manifest.content)
    registry._keep(image.reference, document)

    served = await pulls.manifest(pull_of(image), "1")

    assert (served.media_type, served.content) == (DOCKER_MANIFEST, document.content)
    with pytest.raises(ManifestInvalid, match="Nothing can be added"):
        await pulls.manifest(pull_of(image, WANTED, token="t2"), "1")
