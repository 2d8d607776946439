"""The data port as clients see it: served by Granian, with a registry behind it."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from msgspec import Struct, structs
from yarl import URL

from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver import Deliveries
from registry_proxy.domain.link import Link, Origin, sign
from registry_proxy.handlers.blobs import BlobsApp
from swell.http import listening
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_CONFIG, OCI_LAYER
from swell.serve import Address
from swell.store.blobs import Blobs
from swell.store.objects import S3Objects
from swell_embedded.ports import Ports
from tests.integration.registry_proxy.support import Script, broken_off, said

KEY = b"k" * 32
CONTENT = bytes(range(256)) * 8192 * 2  # 4 MiB
CONFIG = Document(OCI_CONFIG, b'{"os":"linux"}')
MISSING = Link(Origin.DOCUMENT, "docker.io", "library/x", digest_of(b"missing"), 7, OCI_CONFIG, int(time.time()) + 600)


class Configs:
    async def config(self, digest: Digest) -> Document | None:
        return CONFIG if digest == CONFIG.digest else None


class Port(Struct, frozen=True):
    """The data port, and a registry that it reads from."""

    url: URL
    script: Script
    blobs: Blobs

    def link(self, content: bytes = CONTENT, origin: Origin = Origin.UPSTREAM, **changes: object) -> Link:
        link = Link(
            origin, self.script.authority, "a/b", digest_of(content), len(content), OCI_LAYER, int(time.time()) + 600
        )
        return structs.replace(link, **changes)

    def url_of(self, link: Link) -> URL:
        return self.url.with_path(sign(link, KEY))

    def path_upstream(self, link: Link) -> str:
        return f"/v2/{link.repository}/blobs/{link.digest}"


@pytest.fixture
async def port(script: Script, upstream: RegistryUpstream, s3_objects: S3Objects) -> AsyncIterator[Port]:
    blobs = Blobs(s3_objects)
    where = Address("127.0.0.1", Ports.free().data)
    async with listening(BlobsApp(Deliveries(Configs(), blobs, upstream), KEY), where):
        yield Port(URL(f"http://127.0.0.1:{where.port}"), script, blobs)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


async def test_a_blob_streams_through_with_its_headers(port: Port, client: aiohttp.ClientSession) -> None:
    """A client can check it before and after."""
    link = port.link()
    port.script.on(port.path_upstream(link), said(body=CONTENT))

    async with client.get(port.url_of(link)) as response:
        assert await response.read() == CONTENT

    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["Docker-Content-Digest"] == link.digest
    assert response.headers["ETag"] == f'"{link.digest}"'
    assert response.headers["Content-Type"] == OCI_LAYER


async def test_a_head_tells_the_same_and_costs_nothing(port: Port, client: aiohttp.ClientSession) -> None:
    """The link says it all."""
    async with client.head(port.url_of(port.link())) as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == str(len(CONTENT))
        assert response.headers["Docker-Content-Digest"] == digest_of(CONTENT)

    assert not port.script.seen


async def test_configs_and_layers_of_ours_are_served(port: Port, client: aiohttp.ClientSession) -> None:
    """The first from memory, the second from S3."""
    await port.blobs.put(digest_of(CONTENT), CONTENT)

    async with client.get(port.url_of(port.link(CONFIG.content, Origin.DOCUMENT))) as response:
        assert await response.read() == CONFIG.content
    async with client.get(port.url_of(port.link(origin=Origin.LAYER))) as response:
        assert await response.read() == CONTENT


async def test_an_upstreams_redirect_becomes_a_307(port: Port, client: aiohttp.ClientSession) -> None:
    """One answer without a body: the connection can be used again."""
    link = port.link()
    port.script.on(port.path_upstream(link), said(302, Location="https://cdn.example/x%2Fy?sig=%3D"))

    async with client.get(port.url_of(link), allow_redirects=False) as response:
        assert (response.status, await response.read()) == (307, b"")

    assert response.headers["Location"] == "https://cdn.example/x%2Fy?sig=%3D"


@pytest.mark.parametrize("sent", [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT[: len(CONTENT) // 2]])
async def test_wrong_bytes_end_in_a_broken_connection(port: Port, client: aiohttp.ClientSession, sent: bytes) -> None:
    """Chunked, so that no length gives them away before: the client must see an error, not an end."""
    link = port.link()

    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(sent)
        return response

    port.script.on(port.path_upstream(link), chunked)

    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(port.url_of(link)) as response:
            await response.read()


async def test_an_upstream_that_breaks_off_breaks_the_answer_off(port: Port, client: aiohttp.ClientSession) -> None:
    """Clients resume or try again; a silent end would be a truncated layer."""
    link = port.link()
    port.script.on(port.path_upstream(link), broken_off(CONTENT[: 2 << 20], len(CONTENT)))

    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(port.url_of(link)) as response:
            await response.read()


@pytest.mark.parametrize(
    ("link", "status", "code"),
    [
        (structs.replace(MISSING, expires=1), 403, "DENIED"),
        (MISSING, 404, "BLOB_UNKNOWN"),
        (structs.replace(MISSING, origin=Origin.UPSTREAM, registry="10.0.0.1"), 400, "ADDRESS_FORBIDDEN"),
    ],
)
async def test_an_error_before_the_first_byte_is_told(
    port: Port, client: aiohttp.ClientSession, link: Link, status: int, code: str
) -> None:
    """In the specification's form, which clients show."""
    async with client.get(port.url_of(link)) as response:
        told = (await response.json())["errors"][0]

    assert (response.status, told["code"], bool(told["message"])) == (status, code, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/blobs/", 403),
        ("GET", "/blobs/e30.AAAA", 403),
        ("GET", "/", 404),
        ("GET", "/../blobs/x", 404),
        ("PUT", "/blobs/x.y", 501),
    ],
)
async def test_whatever_else_is_asked_is_refused(
    port: Port, client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """This port is open to the world."""
    async with client.request(method, URL(f"{port.url}{path}", encoded=True)) as response:
        assert response.status == status
        assert (await response.json())["errors"]


async def test_an_unforeseen_error_is_not_told(
    port: Port, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole story is for the log."""

    async def broken(_: object, __: Digest) -> None:
        raise ValueError("secret")

    monkeypatch.setattr(Configs, "config", broken)
    async with client.get(port.url_of(MISSING)) as response:
        assert response.status == 500
        assert "secret" not in await response.text()


async def test_a_client_that_goes_away_ends_the_upstreams_transfer(port: Port) -> None:
    """Sending to nobody never fails: without watching we would read the layer to its end."""
    link = port.link(size=1 << 40)
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(1 << 18))
        except (ConnectionError, asyncio.CancelledError):
            ended.set()
            raise

    port.script.on(port.path_upstream(link), endless)
    async with aiohttp.ClientSession() as client, client.get(port.url_of(link)) as response:
        await response.content.read(1 << 20)
        response.close()

    await asyncio.wait_for(ended.wait(), 10)
