"""A request costs a bounded number of fetches, bytes and seconds, and ends with its caller."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from aiohttp import web
from redis.asyncio import Redis

from registry_proxy.adapters.documents import RedisDocuments
from registry_proxy.adapters.image_cache import ImageCache
from registry_proxy.adapters.leases import RedisLeases
from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver.links import Links
from registry_proxy.handlers.images import ImagesHandler
from registry_proxy.image_tree.resolve import ImageResolver
from registry_proxy.image_tree.tree import Pull
from registry_proxy.inspect import Inspector
from registry_proxy.pull import Pulls
from swell.api.containers import ContainerConfig
from swell.errors import BlobUnknown, ManifestInvalid
from swell.oci.digest import Digest, digest_of
from swell.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from swell.oci.platform import parse_platform
from swell.oci.reference import parse_reference
from swell.registry.credentials.keyring import Keyring
from swell.rpc.channel import connect
from swell.rpc.server import answering
from swell.rpc.v1 import images_pb2 as pb
from swell.rpc.v1.images_pb2_grpc import ImagesStub, add_ImagesServicer_to_server
from swell.serve import Address
from swell.store.blobs import Blobs
from swell.store.connections.redis import text
from swell.store.objects import MemoryObjects
from swell.testing.registry import FakeRegistry
from swell_embedded.ports import Ports
from tests.integration.registry_proxy.support import Script, eventually, said
from tests.unit.registry_proxy.memory import MemoryLayers, PublicStore

UNKNOWN = digest_of(b"unknown")
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
AMD64 = {"architecture": "amd64", "os": "linux"}


def index_of(entries: list[tuple[Digest, int]]) -> bytes:
    """An index of manifests for linux/amd64."""
    manifests = [
        {"mediaType": OCI_MANIFEST, "digest": digest, "size": size, "platform": AMD64} for digest, size in entries
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()


def has(script: Script, index: bytes) -> None:
    """Let *script* have *index* under the tag 1."""
    script.on("/v2/a/b/manifests/1", said(body=index, content_type=OCI_INDEX))


def big_children(script: Script, count: int, size: int) -> bytes:
    """Let *script* have *count* manifests of *size* bytes; gives their index."""
    entries = []
    script.on(f"/v2/a/b/blobs/{digest_of(CONFIG)}", said(body=CONFIG))
    for number in range(count):
        config = {"mediaType": OCI_CONFIG, "digest": digest_of(CONFIG), "size": len(CONFIG)}
        fields = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [], "number": number}
        content = json.dumps(fields | {"padding": "x" * size}).encode()
        script.on(f"/v2/a/b/manifests/{digest_of(content)}", said(body=content, content_type=OCI_MANIFEST))
        entries.append((digest_of(content), len(content)))
    return index_of(entries)


def pull_of(script: Script, config: ContainerConfig | None = None) -> Pull:
    reference = parse_reference(f"{script.authority}/a/b:1")
    expires = datetime.now(UTC) + timedelta(days=1)
    return Pull("t1", reference, (parse_platform("linux/amd64"),), expires, config or ContainerConfig())


@pytest.fixture
def documents(redis: Redis) -> RedisDocuments:
    return RedisDocuments(redis, Blobs(MemoryObjects()))


@pytest.fixture
def pulls(upstream: RegistryUpstream, documents: RedisDocuments, redis: Redis) -> Pulls:
    return Pulls(ImageCache(upstream, Keyring()), documents, MemoryLayers(), RedisLeases(redis))


@pytest.mark.parametrize("adds", [False, True], ids=["walked", "augmented"])
async def test_large_children_do_not_fill_redis(script: Script, pulls: Pulls, redis: Redis, adds: bool) -> None:
    """One HEAD of an unknown blob on an index of 200 manifests of 4 MiB took 760 MB there."""
    has(script, big_children(script, 40, 4_000_000))
    config = ContainerConfig(env=("A=b",)) if adds else None

    with pytest.raises(ManifestInvalid, match="bytes of documents"):
        await pulls.locate(pull_of(script, config), UNKNOWN)

    used = [await redis.memory_usage(text(key)) or 0 for key in await redis.keys()]
    assert sum(used) < 200_000
    assert len(script.seen) < 25


async def test_a_walk_asks_for_some_children_only(script: Script, pulls: Pulls) -> None:
    """An index may name what is not there, thousands of times."""
    has(script, index_of([(digest_of(str(number).encode()), 7) for number in range(900)]))

    with pytest.raises(ManifestInvalid, match="100 documents"):
        await pulls.locate(pull_of(script), UNKNOWN)

    assert len(script.seen) <= 102


async def test_an_index_of_too_many_entries_is_not_walked(script: Script, pulls: Pulls) -> None:
    """Nor does it cost questions to Redis; the index itself is passed on as it is."""
    index = index_of([(digest_of(str(number).encode()), 7) for number in range(11_000)])
    has(script, index)

    assert (await pulls.manifest(pull_of(script), "1")).content == index
    with pytest.raises(ManifestInvalid, match="1000 entries"):
        await pulls.locate(pull_of(script), UNKNOWN)
    with pytest.raises(ManifestInvalid, match="1000 entries"):
        await pulls.referrers(pull_of(script), UNKNOWN)

    assert len(script.seen) == 1


async def test_an_inspection_is_bounded_as_well(script: Script, upstream: RegistryUpstream) -> None:
    """It looks into nested indexes for a platform."""
    has(
        script, index_of([(digest_of(str(number).encode()), 7) for number in range(900)]).replace(b'"platform"', b'"x"')
    )
    image = parse_reference(f"{script.authority}/a/b:1")
    empty = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    script.on("/v2/a/b/manifests/1", said(body=nested(script, 900), content_type=OCI_INDEX))
    assert empty

    with pytest.raises(ManifestInvalid, match="100 documents"):
        await Inspector(upstream).inspect(image, parse_platform("linux/amd64"))

    assert len(script.seen) <= 102


def nested(script: Script, count: int) -> bytes:
    """An index of indexes, none of which has a platform."""
    manifests = []
    for number in range(count):
        content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "number": number}).encode()
        script.on(f"/v2/a/b/manifests/{digest_of(content)}", said(body=content, content_type=OCI_INDEX))
        manifests.append({"mediaType": OCI_INDEX, "digest": digest_of(content), "size": len(content)})
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()


async def test_an_ordinary_image_is_walked_as_before(script: Script, pulls: Pulls) -> None:
    """A client that skips the manifest finds a blob of any of the platforms."""
    has(script, big_children(script, 20, 1000))

    found = await pulls.locate(pull_of(script), digest_of(CONFIG))

    assert found.descriptor.size == len(CONFIG)
    with pytest.raises(BlobUnknown):
        await pulls.locate(pull_of(script), UNKNOWN)


@asynccontextmanager
async def stub_of(pulls: Pulls) -> AsyncIterator[Any]:
    """The registry-proxy's gRPC server, really over a socket; typed stubs know no `cancel`."""
    where = Address("127.0.0.1", Ports.free().data)
    resolver = ImageResolver(FakeRegistry())
    handler = ImagesHandler(pulls, Links(PublicStore(), "http://data", b"k" * 32), resolver)
    async with (
        answering(where, lambda server: add_ImagesServicer_to_server(handler, server)),
        connect(f"{where.host}:{where.port}") as channel,
    ):
        yield ImagesStub(channel)


def to_proto(pull: Pull) -> pb.Pull:
    return pb.Pull(
        token=pull.token, image=str(pull.image), platform="linux/amd64", expires=int(pull.expires.timestamp())
    )


async def test_a_walk_ends_with_its_caller(script: Script, pulls: Pulls) -> None:
    """The gateway's client has left, so the call is cancelled; the registry is asked for nothing more."""
    has(script, index_of([(digest_of(str(number).encode()), 7) for number in range(90)]))

    async def slowly(request: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response(status=404)

    for number in range(90):
        script.on(f"/v2/a/b/manifests/{digest_of(str(number).encode())}", slowly)
    async with stub_of(pulls) as stub:
        call = stub.LocateBlob(pb.LocateBlobRequest(pull=to_proto(pull_of(script)), digest=UNKNOWN))

        async def is_walking() -> bool:
            return len(script.seen) >= 5

        await eventually(is_walking)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.5)  # for a request that was on its way
        asked = len(script.seen)
        await asyncio.sleep(1)

    assert len(script.seen) == asked < 40


async def test_a_fetch_ends_with_the_last_who_waits_for_it(script: Script, pulls: Pulls) -> None:
    """One caller leaves, and the other gets the answer; both leave, and the registry sees its connection closed."""
    manifest, opened, requests = big_children(script, 1, 10), asyncio.Event(), list[web.Request]()

    async def waiting(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        await opened.wait()
        return web.Response(body=manifest, content_type=OCI_INDEX)

    script.on("/v2/a/b/manifests/1", waiting)
    async with stub_of(pulls) as stub:
        request = pb.GetManifestRequest(pull=to_proto(pull_of(script)), reference="1")
        first, second = stub.GetManifest(request), stub.GetManifest(request)
        await eventually(script.is_asked)
        first.cancel()
        opened.set()
        assert (await second).content == manifest
        assert len(script.seen) == 1

        opened.clear()
        other = pb.GetManifestRequest(pull=to_proto(pull_of(script)), reference="1")
        other.pull.token = "t2"
        other.pull.image = f"{script.authority}/a/b:2"
        script.on("/v2/a/b/manifests/2", waiting)
        third = stub.GetManifest(other)

        async def is_asked_again() -> bool:
            return len(script.seen) == 2

        await eventually(is_asked_again)
        third.cancel()
        with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
            await third

        async def is_closed() -> bool:
            transport = requests[-1].transport
            return transport is None or transport.is_closing()

        await eventually(is_closed)
