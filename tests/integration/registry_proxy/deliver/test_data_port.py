"""The data port as clients see it: an HTTP server in front of a registry."""

import asyncio
import contextlib
import json
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from msgspec import structs
from yarl import URL

from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.domain.link import Link, Origin, sign
from registry_proxy.domain.ranges import parse_range
from registry_proxy.handlers import blobs, server
from swell.net.outbound import Policy, Reach, open_session
from swell.oci.digest import Digest, digest_of
from swell.oci.media_types import OCI_CONFIG, OCI_LAYER
from swell.registry.credentials.keyring import Keyring
from tests.integration.registry_proxy.deliver.data_port import CONFIG, CONTENT, KEY, Configs, NewPort, Port, kept
from tests.integration.registry_proxy.support import S3, Names, ranged, said


async def silent(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


MISSING = Link(Origin.DOCUMENT, "docker.io", "library/x", digest_of(b"missing"), 7, OCI_CONFIG, 4_102_444_800)


async def test_a_blob_streams_through_with_its_headers(port: Port, client: aiohttp.ClientSession) -> None:
    """A client can check it before and after."""
    link = port.link()
    port.script.on(port.path_upstream(link), said(body=CONTENT))

    async with client.get(port.url_of(link)) as response:
        assert await response.read() == CONTENT

    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["Docker-Content-Digest"] == link.digest
    assert response.headers["ETag"] == f'"{link.digest}"'


@pytest.mark.parametrize("declared", ["text/html", "image/svg+xml", OCI_LAYER, ""])
@pytest.mark.parametrize("origin", [Origin.UPSTREAM, Origin.LAYER])
async def test_bytes_of_others_do_nothing_in_a_browser(
    port: Port, client: aiohttp.ClientSession, declared: str, origin: Origin
) -> None:
    """A manifest may call a layer `text/html`: served as that, it would be a page of this server."""
    content = b"<script>alert(1)</script>"
    link = port.link(content, origin, media_type=declared)
    port.script.on(port.path_upstream(link), said(body=content, content_type="text/html", Set_Cookie="a=b"))
    await port.layers.put(link.digest, content)

    for method, headers in ("GET", {}), ("GET", {"Range": "bytes=0-3"}), ("HEAD", {}):
        async with client.request(method, port.url_of(link), headers=headers) as response:
            assert response.status in {200, 206}
            assert response.headers["Content-Type"] == "application/octet-stream"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Content-Security-Policy"] == "sandbox"
            assert response.headers["Content-Disposition"] == "attachment"
            assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.2:9101/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://metadata.google.internal/",
        "http://2130706433/",
        "http://inside.example/",
        "http://sometimes.example/",
        "http://unknown.example/",
    ],
)
async def test_clients_are_not_redirected_to_forbidden_addresses(
    new_port: NewPort, client: aiohttp.ClientSession, target: str
) -> None:
    """A registry's redirect would let its owner aim our clients at their own networks, or a cloud's metadata service.

    Nothing is fetched from there by us either; a name counts as all of its addresses.
    """
    names = Names({"inside.example": [("10.1.2.3", 0)], "sometimes.example": [("1.1.1.1", 0), ("192.168.1.1", 0)]})
    async with (
        open_session(Policy(frozenset({"127.0.0.1"})), resolver=names) as session,
        new_port(upstream=RegistryUpstream(session, Keyring())) as port,
    ):
        link = port.link()
        port.script.on(port.path_upstream(link), said(307, Location=target))

        async with client.get(port.url_of(link), allow_redirects=False) as response:
            assert response.status in {400, 502}
            assert "Location" not in response.headers
            message = (await response.json())["errors"][0]["message"]
            assert "must not connect to" in message or "there is no host" in message


async def test_clients_are_redirected_to_public_names(new_port: NewPort, client: aiohttp.ClientSession) -> None:
    """Most large registries keep blobs at a content delivery network."""
    names = Names({"public.example": [("1.1.1.1", 0)]})
    async with (
        open_session(Policy(frozenset({"127.0.0.1"})), resolver=names) as session,
        new_port(upstream=RegistryUpstream(session, Keyring())) as port,
    ):
        link = port.link()
        port.script.on(port.path_upstream(link), said(307, Location="https://public.example/x"))

        async with client.get(port.url_of(link), allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (307, "https://public.example/x")


async def test_a_head_has_the_same_headers_and_costs_nothing(port: Port, client: aiohttp.ClientSession) -> None:
    """The link says it all."""
    async with client.head(port.url_of(port.link())) as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == str(len(CONTENT))
        assert response.headers["Docker-Content-Digest"] == digest_of(CONTENT)

    assert not port.script.seen


async def test_configs_and_layers_of_ours_are_served(port: Port, client: aiohttp.ClientSession) -> None:
    """The first from memory, the second from S3."""
    await port.layers.put(digest_of(CONTENT), CONTENT)

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


@pytest.mark.parametrize("place", ["upstream", "whole-only upstream", "spool", "layer", "document"])
@pytest.mark.parametrize("asked", ["bytes=0-0", "bytes=3-7", "bytes=5-", "bytes=-4"])
async def test_a_part_is_the_same_from_everywhere(
    port: Port, client: aiohttp.ClientSession, place: str, asked: str
) -> None:
    """From a registry that heeds ranges and one that does not, from disk, from S3, from memory."""
    content = CONFIG.content if place == "document" else CONTENT
    link = port.link(content, {"layer": Origin.LAYER, "document": Origin.DOCUMENT}.get(place, Origin.UPSTREAM))
    port.script.on(port.path_upstream(link), said(body=content) if place == "whole-only upstream" else ranged(content))
    if place == "layer":
        await port.layers.put(link.digest, content)
    if place == "spool":
        async with client.get(port.url_of(link)) as response:
            await response.read()
    span = parse_range(asked, len(content))
    assert span

    async with client.get(port.url_of(link), headers={"Range": asked}) as response:
        assert (response.status, await response.read()) == (206, content[span.start : span.stop])

    assert response.headers["Content-Range"] == f"bytes {span.start}-{span.stop - 1}/{len(content)}"
    assert response.headers["Content-Length"] == str(span.length)
    assert response.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("place", ["registry", "spool", "store", "layer", "public store"])
async def test_an_empty_blob_is_served_from_everywhere(
    new_port: NewPort, client: aiohttp.ClientSession, s3: S3, place: str
) -> None:
    """Some tools make configs and layers of zero bytes; a range of such a blob cannot exist."""
    async with new_port() as first, new_port(public=s3.endpoint if place == "public store" else None) as second:
        link = first.link(b"", Origin.LAYER if place == "layer" else Origin.UPSTREAM)
        first.script.on(first.path_upstream(link), said(body=b""))
        if place == "layer":
            await first.layers.put(link.digest, b"")
        elif place != "registry":
            async with client.get(first.url_of(link)) as response:
                assert (response.status, await response.read()) == (200, b"")
            await kept(first, link)
        port = first if place == "spool" else second

        async with client.get(port.url_of(link)) as response:
            assert (response.status, await response.read()) == (200, b"")
            assert response.headers["Content-Length"] == "0"
        async with client.get(port.url_of(link), headers={"Range": "bytes=0-"}, allow_redirects=False) as response:
            assert response.status == 416


async def test_a_part_of_a_cold_blob_is_never_kept(port: Port, client: aiohttp.ClientSession) -> None:
    """It cannot be verified by itself."""
    link = port.link()
    port.script.on(port.path_upstream(link), ranged(CONTENT))

    async with client.get(port.url_of(link), headers={"Range": "bytes=10-19"}) as response:
        assert await response.read() == CONTENT[10:20]

    assert port.script.headers[0]["Range"] == "bytes=10-19"
    assert await port.cached(link) is None


@pytest.mark.parametrize(
    ("headers", "status", "length"),
    [
        ({"Range": f"bytes={len(CONTENT)}-"}, 416, None),
        ({"Range": "bytes=0-1,5-6"}, 200, len(CONTENT)),
        ({"Range": "bytes=nonsense"}, 200, len(CONTENT)),
        ({"Range": "bytes=0-1", "If-Range": '"another"'}, 200, len(CONTENT)),
        ({"Range": "bytes=0-1", "If-Range": f'"{digest_of(CONTENT)}"'}, 206, 2),
        ({"If-None-Match": f'"x", W/"{digest_of(CONTENT)}"'}, 304, 0),
        ({"If-None-Match": "*"}, 304, 0),
        ({"If-None-Match": '"x"'}, 200, len(CONTENT)),
    ],
)
async def test_conditional_requests_are_respected(
    port: Port, client: aiohttp.ClientSession, headers: dict[str, str], status: int, length: int | None
) -> None:
    """As in RFC 9110; an unsatisfiable range returns the blob's size."""
    await port.layers.put(digest_of(CONTENT), CONTENT)

    async with client.get(port.url_of(port.link(origin=Origin.LAYER)), headers=headers) as response:
        body = await response.read()

    assert response.status == status
    assert length is None or len(body) == length
    if status == 416:
        assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"
        assert json.loads(body)["errors"][0]["code"] == "UNKNOWN"


@pytest.mark.parametrize(
    ("link", "status", "code"),
    [
        (structs.replace(MISSING, expires=1), 403, "DENIED"),
        (MISSING, 404, "BLOB_UNKNOWN"),
        (structs.replace(MISSING, origin=Origin.UPSTREAM, registry="10.0.0.1"), 400, "DENIED"),
    ],
)
async def test_an_error_before_the_first_byte_has_an_oci_body(
    port: Port, client: aiohttp.ClientSession, link: Link, status: int, code: str
) -> None:
    """The response has the OCI error format, which clients parse."""
    async with client.get(port.url_of(link)) as response:
        error = (await response.json())["errors"][0]

    assert (response.status, error["code"], bool(error["message"])) == (status, code, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/blobs/", 403),
        ("GET", "/blobs/e30.AAAA", 403),
        ("GET", "/", 404),
        ("GET", "/../blobs/x", 404),
        ("GET", "/blobs/..%2f..%2fetc%2fpasswd", 403),
        ("GET", "/blobs/%ff%fe%00.%ed%a0%80", 403),
        ("GET", "/blobs/" + "A" * 30_000 + ".x", 403),
        ("GET", "//blobs/x.y", 404),
        ("PUT", "/blobs/x.y", 405),
        ("DELETE", sign(MISSING, KEY), 405),
        ("POST", sign(MISSING, KEY), 405),
        ("GET", sign(MISSING, KEY) + "/..", 403),
        ("GET", sign(MISSING, KEY)[:-1], 403),
        ("GET", sign(MISSING, b"another key"), 403),
        ("HEAD", sign(MISSING, b"another key"), 403),
    ],
)
async def test_other_requests_are_refused(
    port: Port, client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """This port is public."""
    async with client.request(method, URL(f"{port.url}{path}", encoded=True)) as response:
        assert response.status == status
        assert response.headers.get("Allow") == ("GET, HEAD" if status == 405 else None)
        assert method == "HEAD" or (await response.json())["errors"]


async def test_a_silent_registry_is_504_before_a_relaying_gateway_gives_up(
    new_port: NewPort, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway waits a fixed time for the data port; the operator may let registries take longer."""
    monkeypatch.setattr(blobs, "OPEN_SECONDS", 0.5)
    reach = Reach(answer_timeout=timedelta(minutes=5))
    async with (
        open_session(Policy(frozenset({"127.0.0.1"})), reach) as session,
        new_port(upstream=RegistryUpstream(session, Keyring())) as port,
    ):
        link = port.link()
        port.script.on(port.path_upstream(link), silent)

        async with client.get(port.url_of(link)) as response:
            assert response.status == 504
            assert "does not answer in time" in (await response.json())["errors"][0]["message"]


async def test_endless_headers_are_cut_off(port: Port) -> None:
    """Endless headers must not fill the memory; other clients are not affected."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port.url.port)
    writer.write(b"GET /blobs/x.y HTTP/1.1\r\nHost: x\r\n")
    with contextlib.suppress(ConnectionError):
        for number in range(20_000):
            writer.write(b"X-%d: %s\r\n" % (number, b"a" * 100))
            await writer.drain()
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 30)
        assert answer == b"" or answer.split()[1] in {b"400", b"431"}
    writer.close()

    async with aiohttp.request("HEAD", port.url_of(port.link())) as response:
        assert response.status == 200


async def test_silent_connections_are_closed(new_port: NewPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent connections and incomplete requests cost memory."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    async with new_port() as port:
        for said in (b"", b"GET /blobs/x.y HTTP/1.1\r\nHost: x\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port.url.port)
            writer.write(said)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()


async def test_what_is_no_http_is_answered_shortly(port: Port) -> None:
    """Strangers try everything; it is not even a line of the log."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port.url.port)
    writer.write(b"\x16\x03\x01 TLS? SSH-2.0\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.0 400 ")
    writer.close()


async def test_an_unexpected_error_shows_no_details(
    port: Port, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Details of unexpected errors go to the log only."""

    async def broken(_: object, __: Digest) -> None:
        raise ValueError("secret")

    monkeypatch.setattr(Configs, "config", broken)
    async with client.get(port.url_of(MISSING)) as response:
        assert response.status == 500
        assert "secret" not in await response.text()


async def test_a_disconnect_ends_the_upstream_request(new_port: NewPort) -> None:
    """Writing to a closed connection raises no error, so the server watches for disconnects."""
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

    async with new_port(idle_lifetime=timedelta(seconds=0.5)) as port:
        link = port.link(size=1 << 40)
        port.script.on(port.path_upstream(link), endless)
        async with aiohttp.ClientSession() as client, client.get(port.url_of(link)) as response:
            await response.content.read(1 << 20)
            response.close()

        await asyncio.wait_for(ended.wait(), 60)
