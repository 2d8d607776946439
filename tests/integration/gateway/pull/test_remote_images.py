"""The gateway's questions about images, over gRPC to the registry-proxy's own handler."""

import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from grpc.aio import Channel
from msgspec import structs
from yarl import URL

from gateway.adapters.registry_proxy.image_lookup import RemoteLookup
from gateway.adapters.registry_proxy.images import RemoteImages
from registry_proxy.deliver.links import STORE_LIFE, Links
from registry_proxy.domain.link import LIFE, Origin, mark_of, verify
from registry_proxy.handlers.images import ImagesHandler, from_proto
from registry_proxy.image_tree.resolve import ImageResolver
from registry_proxy.pull import Pulls
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import BadRequest, BlobUnknown, DigestInvalid, ManifestUnknown
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX
from swell.oci.platform import parse_platform
from swell.oci.reference import parse_reference
from swell.rpc.channel import connect
from swell.rpc.server import answering
from swell.rpc.v1 import images_pb2 as pb
from swell.rpc.v1.images_pb2_grpc import add_ImagesServicer_to_server
from swell.serve import Address
from swell.testing.images import make_layer
from swell.testing.registry import FakeRegistry
from swell_embedded.ports import Ports
from tests.integration.gateway.grants import make_grant
from tests.unit.registry_proxy.memory import MemoryDocuments, MemoryLayers, MemoryLeases, PublicStore

KEY = b"link key"
DATA = "https://data.example.org/swell"
UBUNTU = "docker.io/library/ubuntu:22.04"
ADDED = make_layer("added").to_add("https://example.com/größe.tar.gz")


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def layers() -> MemoryLayers:
    return MemoryLayers()


@pytest.fixture
def store() -> PublicStore:
    return PublicStore()


@pytest.fixture
async def channel(registry: FakeRegistry, layers: MemoryLayers, store: PublicStore) -> AsyncIterator[Channel]:
    pulls = Pulls(registry, MemoryDocuments(), layers, MemoryLeases())
    handler = ImagesHandler(pulls, Links(store, DATA, KEY), ImageResolver(registry))
    where = Address("127.0.0.1", Ports.free().registry_proxy)
    async with (
        answering(where, lambda server: add_ImagesServicer_to_server(handler, server)),
        connect(f"{where.host}:{where.port}") as channel,
    ):
        yield channel


@pytest.fixture
def images(channel: Channel) -> RemoteImages:
    return RemoteImages(channel)


@pytest.fixture
def lookup(channel: Channel) -> RemoteLookup:
    return RemoteLookup(channel)


async def test_a_manifest_comes_as_the_registry_has_it(
    registry: FakeRegistry, images: RemoteImages, lookup: RemoteLookup
) -> None:
    """The bytes are unchanged, so the digest matches."""
    base = registry.push(UBUNTU)

    assert await images.manifest(make_grant(), "22.04") == base.manifest
    assert await lookup.resolve(parse_reference(UBUNTU)) == base.digest


async def test_what_a_grant_adds_is_added(registry: FakeRegistry, images: RemoteImages) -> None:
    """Platform, additions and layers all reach the other side."""
    amd64 = registry.push("ubuntu:amd64")
    arm64 = registry.push("ubuntu:arm64", platform="linux/arm64")
    registry.push_index(UBUNTU, arm64, amd64)
    grant = make_grant(wanted=ContainerConfig(env=("A=größe",), layers=(ADDED,)))

    unchanged, chosen = (await images.manifest(grant, "22.04")).manifests
    made = await images.manifest(grant, chosen.digest)

    assert unchanged.digest == arm64.digest
    assert [layer.digest for layer in made.layers][-1] == ADDED.gzip_digest


async def test_all_platforms_of_a_grant_reach_the_other_side(registry: FakeRegistry, images: RemoteImages) -> None:
    """What was built for two is pulled by both kinds of capabilities."""
    amd64 = registry.push("ubuntu:amd64")
    arm64 = registry.push("ubuntu:arm64", platform="linux/arm64")
    registry.push_index(UBUNTU, amd64, arm64)
    grant = structs.replace(make_grant(wanted=ContainerConfig(env=("A=1",))), platform="linux/amd64,linux/arm64")

    made = {entry.digest for entry in (await images.manifest(grant, "22.04")).manifests}

    assert len(made) == 2
    assert not made & {amd64.digest, arm64.digest}


def test_a_message_with_one_platform_is_understood() -> None:
    """While services are renewed one after the other, the old ones speak as they did."""
    message = pb.Pull(token="t", image=UBUNTU, platform="linux/arm64", expires=1)

    assert from_proto(message).platforms == (parse_platform("linux/arm64"),)


async def test_a_location_leads_to_the_data_port(registry: FakeRegistry, images: RemoteImages) -> None:
    """Signed, and it says all that its answer needs: that costs no question."""
    layer, grant = registry.push(UBUNTU).manifest.layers[0], make_grant()

    location = await images.locate(grant, layer.digest)

    assert location.url.startswith(f"{DATA}/blobs/")
    link = verify(URL(location.url).path.removeprefix("/swell"), KEY, time.time())
    assert (link.origin, link.digest, link.size) == (Origin.UPSTREAM, layer.digest, layer.size)
    assert (link.registry, link.repository, link.mark) == ("docker.io", "library/ubuntu", mark_of(grant.token, KEY))
    assert (location.size, location.media_type) == (layer.size, layer.media_type)
    assert 0 < location.expires - time.time() <= LIFE


async def test_a_location_does_not_outlive_its_token(registry: FakeRegistry, images: RemoteImages) -> None:
    """Expired means gone, for links that were given out as well."""
    layer, grant = registry.push(UBUNTU).manifest.layers[0], make_grant(life=timedelta(seconds=30))

    location = await images.locate(grant, layer.digest)

    assert location.expires == int(grant.expires.timestamp())
    assert verify(URL(location.url).path.removeprefix("/swell"), KEY, time.time()).expires == location.expires


async def test_what_clients_find_in_the_store_is_located_there(
    registry: FakeRegistry, images: RemoteImages, store: PublicStore
) -> None:
    """A hop less; the store is asked again soon, for it may go away or forget."""
    layer = registry.push(UBUNTU).manifest.layers[0]
    store.kept[layer.digest] = "https://s3.example.org/layers/x?signature"

    location = await images.locate(make_grant(), layer.digest)

    assert (location.url, location.size) == (store.kept[layer.digest], layer.size)
    assert 60 < location.expires - time.time() <= STORE_LIFE


async def test_referrers_come_as_the_registry_has_them(registry: FakeRegistry, images: RemoteImages) -> None:
    """The index is not rewritten on the way."""
    base = registry.push(UBUNTU)
    signature = registry.refer(base, "signature")

    referrers_index = Document(OCI_INDEX, await images.referrers(make_grant(), base.digest))

    assert [each.digest for each in referrers_index.manifests] == [signature.digest]
    assert await images.manifest(make_grant(), signature.digest) == signature.manifest


async def test_a_platform_that_is_missing_is_refused_by_name(registry: FakeRegistry, lookup: RemoteLookup) -> None:
    """The question crosses to the registry-proxy, and the answer comes back as what it is."""
    base = registry.push(UBUNTU, platform="linux/arm64")

    assert await lookup.resolve(base.reference, platforms=[parse_platform("linux/arm64")]) == base.digest
    with pytest.raises(BadRequest, match="not made for linux/amd64, but for linux/arm64"):
        await lookup.resolve(base.reference, platforms=[parse_platform("linux/amd64")])


async def test_errors_arrive_as_what_they_are(
    registry: FakeRegistry, images: RemoteImages, lookup: RemoteLookup, layers: MemoryLayers
) -> None:
    """An error keeps its class over gRPC."""
    registry.push(UBUNTU)
    layers.broken.add(ADDED)

    with pytest.raises(ManifestUnknown):
        await lookup.resolve(parse_reference("nothing:1"))
    with pytest.raises(ManifestUnknown):
        await images.manifest(make_grant(), "latest")
    with pytest.raises(BlobUnknown):
        await images.locate(make_grant(), digest_of(b"another image's"))
    with pytest.raises(DigestInvalid, match="größe"):
        await lookup.keep(ADDED)


async def test_a_layer_to_keep_arrives_whole(lookup: RemoteLookup, layers: MemoryLayers) -> None:
    """All members of the layer reach the registry-proxy."""
    layer = ContainerLayer("https://example.com/context.tar.gz", "sha256:" + "a" * 64, 1 << 40, "sha256:" + "b" * 64)

    await lookup.keep(layer)

    assert layers.ensured == [layer]
