"""Layers of base images come from where the base image is, not from what a target's repository happens to have."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cachetools import LRUCache

from builder.adapters.registry import registry_push
from builder.conda.base_image import BaseImage
from builder.domain.failure import BuildFailure
from swell.net.outbound import Policy, open_session
from swell.oci.descriptor import Descriptor
from swell.oci.digest import digest_of
from swell.oci.media_types import OCI_LAYER
from swell.oci.reference import Reference, parse_reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.principal import OPERATOR, PUBLIC
from swell.registry.push import RegistryPush
from swell.store.records import Reason
from tests.integration.builder.harness import Registry
from tests.integration.registry_proxy.support import Script, said, serving

SECRET = b"a layer of another user's private image"
LAYER = Descriptor(media_type=OCI_LAYER, digest=digest_of(SECRET), size=len(SECRET))


class World:
    """A registry that builds are pushed to, another one, and the base images that are copied from there."""

    def __init__(self, script: Script, base: BaseImage, push: RegistryPush, target: Reference) -> None:
        self.script = script
        self.base = base
        self.push = push
        self.target = target
        self.source = parse_reference(f"{script.authority}/stranger/base:1")


@pytest.fixture
async def world(registry: Registry, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with serving() as script, open_session(Policy(frozenset({registry.address, script.authority}))) as session:
        keyring = parse_auth_file(registry.auth_file.read_bytes())
        push = registry_push(RegistryClient(session, keyring, actions="pull,push").acting_for(OPERATOR))
        base = BaseImage(RegistryClient(session, Keyring()), push, PUBLIC, LRUCache(100))
        target = parse_reference(f"{registry.address}/copies/{abs(hash(request.node.name))}:1")
        yield World(script, base, push, target)


async def test_a_layer_that_a_base_only_names_is_not_taken_from_the_target(world: World, tmp_path: Path) -> None:
    """A stranger who knows the digest of a private layer would be given it in an image of theirs."""
    await world.push.blob(world.target, LAYER.digest, SECRET)

    with pytest.raises(BuildFailure) as failed:
        await world.base.copy(LAYER, world.source, world.target, tmp_path / "layer")

    assert failed.value.reason is Reason.BASE_IMAGE


async def test_a_layer_is_not_mounted_from_a_repository_that_lacks_it(world: World, tmp_path: Path) -> None:
    """Where both are in one registry, that must have the layer in the base image's repository."""
    await world.push.blob(world.target, LAYER.digest, SECRET)
    other = parse_reference(f"{world.target.registry}/copies/empty:1")

    assert not await world.push.mount(world.target, LAYER.digest, other)


async def test_a_layer_is_fetched_once_from_the_same_source(world: World, tmp_path: Path) -> None:
    """The next build on the same base image copies nothing."""
    world.script.on(f"/v2/stranger/base/blobs/{LAYER.digest}", said(body=SECRET))

    for _ in range(2):
        await world.base.copy(LAYER, world.source, world.target, tmp_path / "layer")

    assert len(world.script.seen) == 1
    assert await world.push.has_blob(world.target, LAYER.digest)
