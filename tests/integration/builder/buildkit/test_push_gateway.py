"""What a build can do through the gateway that pushes for it."""

import json
import socket
import urllib.error
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest
from msgspec import Struct

from builder.buildkit.network.push_gateway import PushGateway, Repository
from builder.buildkit.provenance.attestation import Attestation
from swell.net.outbound import Policy, open_session
from swell.oci.reference import Reference, parse_reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import parse_auth_file
from swell.registry.credentials.principal import OPERATOR
from swell.registry.responses import is_temporary
from swell.testing.http_registry import http_registry
from tests.integration.builder.harness import Registry


class Gateway:
    """The gateway of a build that pushes `made:1` and uses the cache `steps`, and a client of it."""

    def __init__(self, url: str, client: aiohttp.ClientSession, inner: PushGateway) -> None:
        self.url = url
        self.client = client
        self.inner = inner

    async def ask(self, method: str, path: str, data: bytes | None = None) -> tuple[int, aiohttp.ClientResponse]:
        kind = "application/vnd.oci.image.manifest.v1+json"
        headers = {"Content-Type": kind} if data else {"Accept": kind}
        async with self.client.request(method, f"{self.url}{path}", data=data, headers=headers) as response:
            await response.read()
            return response.status, response

    async def push_blob(self, name: str, content: bytes) -> int:
        status, response = await self.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert status == 202, name
        digest = f"sha256:{sha256(content).hexdigest()}"
        status, _ = await self.ask("PUT", f"{response.headers['Location']}?digest={digest}", content)
        return status


class Blobs(Struct, frozen=True):
    """The blobs of a buildkitd that has all or none."""

    has_all: bool
    are_new: bool

    def has_blob(self, _: str) -> bool:
        return self.has_all

    def has_new_blob(self, _digest: str, _since: float, _limit: int) -> bool:
        return self.are_new


@asynccontextmanager
async def opened(
    registry: Registry,
    auth: bytes,
    attestation: Attestation | None = None,
    *,
    has_blobs: bool = True,
    new_blobs: bool = False,
    mounts: bool = True,
) -> AsyncIterator[Gateway]:
    allowed = Policy(frozenset({registry.address}))
    async with open_session(allowed) as session, aiohttp.ClientSession() as client:
        registries = RegistryClient(session, parse_auth_file(auth), actions="pull,push").acting_for(OPERATOR)
        repositories = {
            "push/gated/made": Repository(parse_reference(f"{registry.address}/gated/made:1")),
            "cache/gated/steps": Repository(parse_reference(f"{registry.address}/gated/steps:x"), is_cache=True),
        }
        bases = [parse_reference(f"{registry.address}/gated/base:1")]

        async def may_mount(_: Reference) -> bool:
            return mounts

        gateway = PushGateway(registries, repositories, bases, attestation, may_mount)
        listening = socket.create_server(("127.0.0.1", 0))
        async with gateway.serve(listening, Blobs(has_all=has_blobs, are_new=new_blobs)):
            yield Gateway(f"http://127.0.0.1:{listening.getsockname()[1]}", client, gateway)


@pytest.fixture
async def gateway(registry: Registry) -> AsyncIterator[Gateway]:
    async with opened(registry, registry.auth_file.read_bytes()) as gateway:
        yield gateway


MANIFEST = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
    b'"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":2},"layers":[]}'
)
CONFIG = f"sha256:{sha256(b'{}').hexdigest()}".encode()


async def test_an_image_is_pushed_without_credentials(gateway: Gateway, registry: Registry) -> None:
    """The gateway has them; the registry has the same bytes."""
    assert await gateway.push_blob("push/gated/made", b"{}") == 201
    status, _ = await gateway.ask("HEAD", f"/v2/push/gated/made/blobs/{CONFIG.decode()}")
    assert status == 200
    status, _ = await gateway.ask("PUT", "/v2/push/gated/made/manifests/1", MANIFEST % CONFIG)
    assert status == 201
    assert registry.fetch("gated/made/manifests/1")[0] == MANIFEST % CONFIG


async def test_no_other_tag_and_no_other_repository_is_pushed(gateway: Gateway) -> None:
    """What one build may push is its own image."""
    await gateway.push_blob("push/gated/made", b"{}")
    for path in (
        "push/gated/made/manifests/2",
        "push/other/manifests/1",
        "gated/made/manifests/1",
        "cache/x/manifests/1",
    ):
        status, _ = await gateway.ask("PUT", f"/v2/{path}", MANIFEST % CONFIG)
        assert status in {403, 405}, path
    status, _ = await gateway.ask("POST", "/v2/push/other/blobs/uploads/")
    assert status == 403


async def test_a_blob_that_only_the_repository_has_is_to_be_pushed(registry: Registry) -> None:
    """It may be a layer of another user, which a hostile base image names."""
    auth = registry.auth_file.read_bytes()
    async with opened(registry, auth) as gateway:
        await gateway.push_blob("push/gated/made", b"{}")
    async with opened(registry, auth, has_blobs=False) as gateway:
        status, _ = await gateway.ask("HEAD", f"/v2/push/gated/made/blobs/{CONFIG.decode()}")
    assert status == 404


async def test_a_blob_of_the_cache_counts_if_the_build_has_read_the_cache(registry: Registry) -> None:
    """A hostile base image must not bring a layer of another user into the cache, from where it would be read."""
    auth = registry.auth_file.read_bytes()
    async with opened(registry, auth) as gateway:
        await gateway.push_blob("cache/gated/steps", b"{}")
        await gateway.ask("PUT", "/v2/cache/gated/steps/manifests/a", MANIFEST % CONFIG)
    async with opened(registry, auth, has_blobs=False, mounts=False) as gateway:
        path = f"/v2/cache/gated/steps/blobs/{CONFIG.decode()}"
        assert (await gateway.ask("HEAD", path))[0] == 404
        assert (await gateway.ask("GET", "/v2/cache/gated/steps/manifests/a"))[0] == 200
        assert (await gateway.ask("HEAD", path))[0] == 200


@pytest.mark.parametrize(("mounts", "status"), [(True, 200), (False, 404)])
async def test_a_layer_is_mounted_from_what_the_build_may_read(registry: Registry, mounts: bool, status: int) -> None:
    """The credentials for pushes may open private repositories, which a container file only has to name."""
    auth, content = registry.auth_file.read_bytes(), b"of the base"
    async with opened(registry, auth) as gateway:
        gateway.inner._repositories["base"] = Repository(parse_reference(f"{registry.address}/gated/base:1"))
        await gateway.push_blob("base", content)
    async with opened(registry, auth, has_blobs=False, mounts=mounts) as gateway:
        answered, _ = await gateway.ask("HEAD", f"/v2/push/gated/made/blobs/sha256:{sha256(content).hexdigest()}")
    assert answered == status


async def test_an_upload_that_a_mount_has_begun_is_used() -> None:
    """A registry that cannot mount begins an upload. Each blob costs one request less, and no upload is left."""
    async with http_registry() as plain, opened(Registry(plain.authority, Path(), ""), b'{"auths": {}}') as gateway:
        for content in (b"one", b"two"):
            path = f"/v2/push/gated/made/blobs/sha256:{sha256(content).hexdigest()}"
            assert (await gateway.ask("HEAD", path))[0] == 404
            assert await gateway.push_blob("push/gated/made", content) == 201
        assert plain.requests["POST uploads"] == 2
        assert await gateway.push_blob("push/gated/made", b"three") == 201
    assert plain.requests["POST uploads"] == 3
    assert sorted(plain.blobs.values()) == [b"one", b"three", b"two"]
    assert plain._uploads == {}


async def test_a_small_blob_of_the_build_is_sent_at_once() -> None:
    """To ask the registry whether it has the blob, or can mount it, takes longer. Each has one upload; none is left."""
    auth = b'{"auths": {}}'
    async with (
        http_registry() as plain,
        opened(Registry(plain.authority, Path(), ""), auth, Attestation(), new_blobs=True) as gateway,
    ):
        for content in (b"one", b"two"):
            path = f"/v2/push/gated/made/blobs/sha256:{sha256(content).hexdigest()}"
            assert (await gateway.ask("HEAD", path))[0] == 404
            assert await gateway.push_blob("push/gated/made", content) == 201
    assert plain.requests["POST uploads"] == 2
    assert plain.requests["HEAD blobs"] == 0
    assert sorted(plain.blobs.values()) == [b"one", b"two"]
    assert plain._uploads == {}


async def test_uploads_are_begun_before_an_image_is_pushed() -> None:
    """The registry begins them while buildkitd still writes the image. What is not used is cancelled."""
    auth = b'{"auths": {}}'
    async with (
        http_registry() as plain,
        opened(Registry(plain.authority, Path(), ""), auth, Attestation(), new_blobs=True) as gateway,
    ):
        gateway.inner.expect_push()
        gateway.inner.expect_push()
        path = f"/v2/push/gated/made/blobs/sha256:{sha256(b'one').hexdigest()}"
        assert (await gateway.ask("HEAD", path))[0] == 404
        assert await gateway.push_blob("push/gated/made", b"one") == 201
        assert plain.requests["POST uploads"] == 2
    assert plain.requests["POST uploads"] == 2
    assert plain.requests["DELETE uploads"] == 1
    assert plain._uploads == {}


async def test_nothing_is_read_from_where_images_are_pushed(gateway: Gateway) -> None:
    """The credentials for pushing also open what others have pushed there; a FROM line could name this gateway."""
    await gateway.push_blob("push/gated/made", b"{}")
    await gateway.ask("PUT", "/v2/push/gated/made/manifests/1", MANIFEST % CONFIG)
    for path in ("manifests/1", f"blobs/{CONFIG.decode()}", f"manifests/sha256:{'0' * 64}"):
        status, _ = await gateway.ask("GET", f"/v2/push/gated/made/{path}")
        assert status == 405, path
    status, _ = await gateway.ask("HEAD", "/v2/push/gated/made/manifests/2")
    assert status == 405


async def test_a_layer_cache_is_written_and_read(gateway: Gateway) -> None:
    """With any tag: it is for this."""
    assert await gateway.push_blob("cache/gated/steps", b"{}") == 201
    assert (await gateway.ask("PUT", "/v2/cache/gated/steps/manifests/a", MANIFEST % CONFIG))[0] == 201
    assert (await gateway.ask("GET", "/v2/cache/gated/steps/manifests/a"))[0] == 200
    assert (await gateway.ask("GET", f"/v2/cache/gated/steps/blobs/{CONFIG.decode()}"))[0] == 200


async def test_an_upload_goes_on_only_where_it_began(gateway: Gateway) -> None:
    """Its place at the registry is known by a name of the gateway's."""
    status, _ = await gateway.ask(
        "PUT", f"/v2/push/gated/made/blobs/uploads/{'0' * 32}?digest={CONFIG.decode()}", b"{}"
    )
    assert status == 404
    _, started = await gateway.ask("POST", "/v2/cache/gated/steps/blobs/uploads/")
    key = started.headers["Location"].rpartition("/")[2]
    status, _ = await gateway.ask("PUT", f"/v2/push/gated/made/blobs/uploads/{key}?digest={CONFIG.decode()}", b"{}")
    assert status == 404


async def test_a_registry_that_fails_as_an_upload_starts_has_not_refused_the_image(registry: Registry) -> None:
    """The push is repeated."""
    async with http_registry() as failing:
        failing.refused["POST uploads"] = 503
        async with opened(Registry(failing.authority, registry.auth_file, ""), b'{"auths": {}}') as gateway:
            assert (await gateway.ask("POST", "/v2/push/gated/made/blobs/uploads/"))[0] == 502
            trouble = gateway.inner.registry.trouble
    assert trouble
    assert str(trouble) == f"{failing.authority} answers 503"
    assert is_temporary(trouble)


async def test_what_the_registry_refuses_is_known_afterwards(registry: Registry) -> None:
    """buildkitd reports less than the registry's response."""
    async with opened(registry, b'{"auths": {}}') as gateway:
        status, _ = await gateway.ask("POST", "/v2/push/gated/made/blobs/uploads/")
        assert status in {403, 502}
        assert registry.address in str(gateway.inner.registry.trouble)


async def test_provenance_does_not_reach_the_registry(registry: Registry) -> None:
    """It is stored here; the tag of the index is given to the image. No request about it is passed on."""
    attestation = Attestation()
    statement = b'{"_type":"https://in-toto.io/Statement/v0.1","predicate":{"buildDefinition":{}}}'
    name = f"sha256:{sha256(statement).hexdigest()}"
    image, proof = MANIFEST % CONFIG, MANIFEST.replace(b"[]", b'[{"digest":"%s"}]' % name.encode()) % CONFIG
    digests = [f"sha256:{sha256(content).hexdigest()}" for content in (image, proof)]
    entries = [{"digest": digests[0]}, {"digest": digests[1], "annotations": {"vnd.docker.reference.type": "x"}}]
    async with opened(registry, registry.auth_file.read_bytes(), attestation) as gateway:
        path = "/v2/push/gated/made"
        assert (await gateway.ask("HEAD", f"{path}/blobs/{CONFIG.decode()}"))[0] == 200
        assert await gateway.push_blob("push/gated/made", statement) == 201
        assert await gateway.push_blob("push/gated/made", b'{"architecture":"amd64"}') == 201
        await gateway.push_blob("push/gated/made", b"{}")
        for digest, content in zip(digests, (image, proof), strict=True):
            assert (await gateway.ask("HEAD", f"{path}/manifests/{digest}"))[0] == 404
            assert (await gateway.ask("PUT", f"{path}/manifests/{digest}", content))[0] == 201
        index = json.dumps({"manifests": entries}).encode()
        assert not gateway.inner.is_pushed
        assert (await gateway.ask("PUT", f"{path}/manifests/1", index))[0] == 201
        assert (await gateway.ask("PUT", f"{path}/manifests/2", index))[0] == 405
        assert not gateway.inner.is_pushed  # buildkitd still pushes the layer cache
        del gateway.inner._repositories["cache/gated/steps"]
        assert gateway.inner.is_pushed

    assert attestation.predicate == {"buildDefinition": {}}
    assert registry.fetch("gated/made/manifests/1")[0] == image
    for missing in (f"blobs/{name}", f"manifests/{digests[1]}"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            registry.fetch(f"gated/made/{missing}")


async def test_a_refusal_of_the_registry_is_known_with_provenance_too(registry: Registry) -> None:
    """The registry gets the upload with its first bytes."""
    async with opened(registry, b'{"auths": {}}', Attestation()) as gateway:
        assert await gateway.push_blob("push/gated/made", b"\x1f\x8b") in {403, 502}
        assert registry.address in str(gateway.inner.registry.trouble)
