"""HTTP proxies and own certificate authorities; the outbound guard applies to them as well."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme
from yarl import URL

from swell.errors import AddressForbidden, UpstreamBroken, UpstreamFailed
from swell.net.outbound import Policy, Reach, open_session, read, send
from tests.integration.registry_proxy.support import Names, Script, said, serving

TARGET = URL("http://registry.example/v2/")


class Proxy:
    """An HTTP proxy on loopback that answers everything itself; `asked` are the first lines of what it got."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.headers: list[str] = []
        self.url = ""
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, _, headers = request.partition("\r\n")
            self.asked.append(line)
            self.headers.append(headers)
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # it was only a connection
        finally:
            writer.close()


@asynccontextmanager
async def proxying() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


@asynccontextmanager
async def tunnelling(port: int) -> AsyncIterator[Proxy]:
    """A proxy whose tunnels all lead to *port* of loopback."""
    proxy = Proxy()
    open_: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _, headers = (await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")
        proxy.asked.append(line)
        proxy.headers.append(headers)
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for pair in ((reader, back), (there, writer)):
            open_.add(asyncio.create_task(pumped(*pair)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in open_:
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)


async def pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass  # the other end has left
    finally:
        writer.close()


async def got(session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str] | None = None) -> bytes:
    async with await send(session, "GET", url, headers or {}) as response:
        return await read(response, 1000)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with proxying() as proxy:
        yield proxy


async def test_a_proxy_is_asked_for_what_looks_public(proxy: Proxy) -> None:
    """It resolves the name; this machine may not even be able to."""
    names = Names({})
    async with open_session(Policy(), Reach(http_proxy=proxy.url), resolver=names) as session:
        assert await got(session, TARGET) == b"here"

    assert proxy.asked == ["GET http://registry.example/v2/ HTTP/1.1"]
    assert not names.asked


async def test_the_proxys_own_password_is_for_the_proxy(proxy: Proxy) -> None:
    """It stands in the setting, and the registry behind never sees it."""
    url = str(URL(proxy.url).with_user("me").with_password("pw"))
    async with open_session(Policy(), Reach(http_proxy=url)) as session:
        await got(session, TARGET, {"Authorization": "Bearer abc"})

    assert "Proxy-Authorization: Basic bWU6cHc=" in proxy.headers[0]
    assert "\r\nAuthorization: Bearer abc" in proxy.headers[0]


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://169.254.169.254/latest/", "http://localhost:6379/", "http://metadata.internal/"],
)
async def test_a_proxy_gets_no_requests_for_private_addresses(proxy: Proxy, url: str) -> None:
    """Otherwise a proxy inside a cloud would fetch its secrets for any user."""
    async with open_session(Policy(), Reach(http_proxy=proxy.url)) as session:
        with pytest.raises(AddressForbidden):
            await send(session, "GET", URL(url), {})

    assert not proxy.asked


async def test_a_proxy_opens_to_no_user(proxy: Proxy) -> None:
    """That we may connect to it does not mean that it can be named as a registry."""
    async with open_session(Policy(), Reach(https_proxy=proxy.url)) as session:
        with pytest.raises(AddressForbidden):
            await send(session, "GET", URL(proxy.url), {})

    assert not proxy.asked


async def test_an_allowed_host_of_any_form_is_asked_of_the_proxy(proxy: Proxy) -> None:
    """The operator wrote it down; `no_proxy` would send us there directly."""
    async with open_session(Policy(frozenset({"registry"})), Reach(http_proxy=proxy.url)) as session:
        assert await got(session, URL("http://registry/v2/")) == b"here"


async def test_what_needs_no_proxy_is_checked_by_its_address(proxy: Proxy, script: Script) -> None:
    """The direct way is the guarded way."""
    names = Names({"registry.example": [("127.0.0.1", script.url.port or 0)]})
    reach = Reach(http_proxy=proxy.url, no_proxy=("example",))
    async with open_session(Policy(), reach, resolver=names) as session:
        with pytest.raises(AddressForbidden):
            await send(session, "GET", TARGET, {})
    async with open_session(Policy(frozenset({"registry.example"})), reach, resolver=names) as session:
        await got(session, TARGET)

    assert not proxy.asked
    assert len(script.seen) == 1


async def test_https_goes_through_a_tunnel(proxy: Proxy) -> None:
    """A refusing proxy gives another error than a refusing registry."""
    proxy.answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    async with open_session(Policy(), Reach(https_proxy=proxy.url)) as session:
        with pytest.raises(UpstreamBroken, match=r"the outgoing proxy cannot reach registry\.example"):
            await send(session, "GET", TARGET.with_scheme("https"), {"Authorization": "Bearer abc"})

    assert proxy.asked == ["CONNECT registry.example:443 HTTP/1.1"]
    assert "Bearer abc" not in proxy.headers[0]


async def test_a_tunnel_leads_to_the_registry_and_no_further(tmp_path: Path) -> None:
    """The certificate is the registry's, checked by us: the proxy sees a name and ciphertext."""
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("registry.example").configure_cert(tls)
    async with serving(tls=tls) as script, tunnelling(script.url.port or 0) as proxy:
        script.on("/v2/", said(body=b"here"))
        async with open_session(Policy(), Reach(https_proxy=proxy.url, ca_file=ca_file)) as session:
            assert await got(session, TARGET.with_scheme("https"), {"Authorization": "Bearer abc"}) == b"here"
            with pytest.raises(UpstreamFailed, match="no trusted certificate"):
                await got(session, URL("https://another.example/"))

    assert proxy.asked == ["CONNECT registry.example:443 HTTP/1.1", "CONNECT another.example:443 HTTP/1.1"]
    assert script.asked("/v2/") == ["Bearer abc"]
    assert "Bearer abc" not in "".join(proxy.headers)


async def test_a_proxy_that_is_away_says_so() -> None:
    """Its address is the operator's business: it is in the log, not in the answer."""
    async with open_session(Policy(), Reach(http_proxy="http://127.0.0.1:9")) as session:
        with pytest.raises(UpstreamBroken, match=r"^the outgoing proxy cannot reach registry\.example:80$"):
            await send(session, "GET", TARGET, {})


async def test_proxy_variables_of_the_environment_are_ignored(
    proxy: Proxy, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Swell's own settings configure a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    async with open_session(Policy(frozenset({"127.0.0.1"}))) as session:
        await got(session, script.url / "a")

    assert not proxy.asked


async def test_an_own_certificate_authority_is_trusted_when_configured(tmp_path: Path) -> None:
    """Without the setting, a certificate of an unknown authority is refused."""
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    policy = Policy(frozenset({"127.0.0.1"}))
    async with serving(tls=tls) as script:
        script.on("/a", said(body=b"here"))
        async with open_session(policy, Reach(ca_file=ca_file)) as session:
            assert await got(session, script.url / "a") == b"here"
        async with open_session(policy) as session:
            with pytest.raises(UpstreamFailed, match="no trusted certificate"):
                await send(session, "GET", script.url / "a", {})


async def test_the_houses_own_certificates_stand_beside_the_systems(tmp_path: Path) -> None:
    """A private registry must not cost the way to public ones."""
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    async with open_session(Policy(), Reach(ca_file=ca_file)) as session:
        trusted = len(session.connector._ssl.get_ca_certs())  # type: ignore[union-attr]

    assert trusted == len(ssl.create_default_context().get_ca_certs()) + 1
