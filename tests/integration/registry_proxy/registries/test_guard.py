"""The outbound guard and redirects, against real servers."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme
from yarl import URL

from registry_proxy.adapters.upstream import RegistryUpstream
from swell.errors import AddressForbidden, UpstreamFailed, UpstreamSlow
from swell.net import bodies, guard
from swell.net.outbound import Policy, Reach, check_target, follow, open_session, pieces, read, send
from swell.oci.reference import parse_reference
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import OPERATOR
from tests.integration.registry_proxy.support import Names, Script, broken_off, said, serving

SECRET = {"Authorization": "Basic c2VjcmV0"}


async def test_an_allowed_host_does_not_open_its_address_for_other_names(script: Script) -> None:
    """`localhost` and 127.0.0.1 are one address; only the name that the operator wrote down leads there."""
    async with open_session(Policy(frozenset({f"localhost:{script.url.port}"}))) as session:
        async with await send(session, "GET", script.url.with_host("localhost"), {}) as response:
            assert response.status == 404
        with pytest.raises(AddressForbidden):
            await send(session, "GET", script.url, {})

    assert len(script.seen) == 1


async def test_a_redirect_to_a_forbidden_address_is_refused(script: Script) -> None:
    """The favourite way to a cloud's metadata."""
    script.on("/layer", said(302, Location="http://169.254.169.254/latest/meta-data/"))

    async with open_session(Policy(frozenset({script.authority}))) as session:
        with pytest.raises(AddressForbidden):
            await follow(session, "GET", script.url / "layer", {})


async def test_strangers_send_no_client_to_an_allowed_host() -> None:
    """The operator has allowed a private host for its own sake; only another allowed one may name it."""
    target, stranger, own = URL("http://localhost:9500/x"), URL("https://evil.example/v2/"), URL("http://10.0.0.1/v2/")
    async with open_session(Policy(frozenset({"localhost:9500", "10.0.0.1"}))) as session:
        await check_target(session, target, own)
        with pytest.raises(AddressForbidden):
            await check_target(session, target, stranger)


async def test_a_name_is_connected_to_where_it_may_be_and_nowhere_else(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of its addresses is private, another public, which 127.0.0.2 stands in for here."""
    monkeypatch.setattr(guard, "is_public", lambda address: address == "127.0.0.2")
    async with serving("127.0.0.2") as public:
        addresses = [("127.0.0.1", script.url.port or 0), ("127.0.0.2", public.url.port or 0)]
        public.on("/a", said(body=b"here"))
        async with (
            open_session(Policy(), resolver=Names({"both.example": addresses})) as session,
            await send(session, "GET", URL("http://both.example/a"), {}) as response,
        ):
            assert await read(response, 10) == b"here"

    assert not script.seen


async def test_a_name_that_changes_its_address_is_checked_again(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is looked at, private when it is used. Here the look is the use."""
    monkeypatch.setattr(guard, "is_public", lambda address: address == "127.0.0.2")
    async with serving("127.0.0.2") as public:
        names = Names({"moving.example": [("127.0.0.2", public.url.port or 0)]})
        public.on("/a", said(Connection="close"))
        async with open_session(Policy(), resolver=names) as session:
            async with await send(session, "GET", URL("http://moving.example/a"), {}):
                pass
            names.names["moving.example"] = [("127.0.0.1", script.url.port or 0)]
            assert isinstance(session.connector, aiohttp.TCPConnector)
            session.connector.clear_dns_cache()
            with pytest.raises(AddressForbidden):
                await send(session, "GET", URL("http://moving.example/a"), {})

    assert len(names.asked) == 2
    assert not script.seen


async def test_a_realm_at_a_forbidden_address_is_not_asked(script: Script, other: Script) -> None:
    """It is the registry that names it, and credentials would go there."""
    script.on("/v2/team/tool/manifests/1", said(401, WWW_Authenticate=f'Bearer realm="{other.url}/token"'))
    keyring = Keyring({script.authority: Credentials("me", "secret")})

    async with open_session(Policy(frozenset({script.authority}))) as session:
        with pytest.raises(AddressForbidden):
            await (
                RegistryUpstream(session, keyring)
                .acting_for(OPERATOR)
                .fetch_manifest(parse_reference(f"{script.authority}/team/tool:1"))
            )

    assert not other.seen


async def test_credentials_stay_with_their_origin(
    script: Script, other: Script, session: aiohttp.ClientSession
) -> None:
    """Storage behind a redirect is another origin, even on another port of the same host."""
    script.on("/a", said(307, Location="/b?x=%2F"))
    script.on("/b", said(307, Location=str(other.url / "c")))
    other.on("/c", said(body=b"here"))

    async with await follow(session, "GET", script.url / "a", SECRET) as response:
        assert await read(response, 10) == b"here"

    assert script.asked("/b") == [SECRET["Authorization"]]
    assert script.seen[1][1].raw_query_string == "x=%2F"
    assert other.asked("/c") == [None]


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "http://[",
        "http://exa mple/",
        "//",
        "http://xn--a/",
        "http://a..b/",
    ],
)
async def test_a_redirect_to_nowhere_is_the_upstreams_failure(
    script: Script, session: aiohttp.ClientSession, location: str
) -> None:
    """Any `Location` ends in one of Swell's errors."""
    script.on("/a", said(302, Location=location))

    with pytest.raises(UpstreamFailed):
        await follow(session, "GET", script.url / "a", {})


@asynccontextmanager
async def encrypted(folder: Path) -> AsyncIterator[tuple[Script, Reach]]:
    """A `Script` that speaks https, and a `Reach` that trusts its certificate."""
    authority, tls, ca_file = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), folder / "ca.pem"
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(ca_file)
    async with serving(tls=tls) as script:
        yield script, Reach(ca_file=ca_file)


async def test_a_redirect_from_https_to_http_is_refused(script: Script, tmp_path: Path) -> None:
    """Anyone on the way could read and change what comes then, also where the digest is not known yet."""
    script.on("/b", said(body=b"changed on the way"))
    async with encrypted(tmp_path) as (safe, reach):
        safe.on("/a", said(302, Location=str(script.url / "b")))
        async with open_session(Policy(frozenset({script.authority, safe.authority})), reach) as session:
            with pytest.raises(UpstreamFailed, match="an address that is not followed"):
                await follow(session, "GET", safe.url / "a", SECRET)

    assert not script.seen


async def test_a_redirect_to_https_is_followed(script: Script, tmp_path: Path) -> None:
    """From http as from https; credentials stay behind, because another scheme is another origin."""
    async with encrypted(tmp_path) as (safe, reach):
        script.on("/a", said(302, Location=str(safe.url / "b")))
        safe.on("/b", said(302, Location=str(safe.url / "c")))
        safe.on("/c", said(body=b"here"))
        async with (
            open_session(Policy(frozenset({script.authority, safe.authority})), reach) as session,
            await follow(session, "GET", script.url / "a", SECRET) as response,
        ):
            assert await read(response, 10) == b"here"

        assert safe.asked("/b") == safe.asked("/c") == [None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_each_kind_of_redirect_is_followed_by_the_guard(
    script: Script, session: aiohttp.ClientSession, status: int
) -> None:
    """A status that is not known as a redirect would be passed on, and its target never checked."""
    script.on("/a", said(status, Location="/b"))
    script.on("/b", said(body=b"here"))

    async with await follow(session, "GET", script.url / "a", {}) as response:
        assert await read(response, 10) == b"here"


async def test_a_loop_ends_after_ten_hops(script: Script, session: aiohttp.ClientSession) -> None:
    """A host that a user names must not keep us busy."""
    script.on("/a", said(302, Location="/a"))

    with pytest.raises(UpstreamFailed, match="more than 10"):
        await follow(session, "GET", script.url / "a", {})

    assert len(script.seen) == 11


async def test_a_user_in_a_location_is_dropped(script: Script, other: Script, session: aiohttp.ClientSession) -> None:
    """The library would make credentials of it."""
    script.on("/a", said(302, Location=str((other.url / "b").with_user("me").with_password("pw"))))
    other.on("/b", said())

    async with await follow(session, "GET", script.url / "a", {}):
        assert other.asked("/b") == [None]


async def test_we_ask_plainly_and_take_bytes_as_they_are(script: Script, session: aiohttp.ClientSession) -> None:
    """A digest is of the bytes as stored: nothing may be decoded on the way. No cookie is kept, no proxy used."""
    script.on("/a", said(body=b"not really gzip", Content_Encoding="gzip", Set_Cookie="a=b"))
    for _ in range(2):
        async with await send(session, "GET", script.url / "a", {}) as response:
            assert await read(response, 100) == b"not really gzip"

    assert script.headers[1]["Accept-Encoding"] == "identity"
    assert script.headers[1]["User-Agent"].startswith("swell/")
    assert "Cookie" not in script.headers[1]


async def test_a_body_beyond_the_limit_is_not_read(script: Script, session: aiohttp.ClientSession) -> None:
    """Memory is bounded by us, not by whom a user names."""
    script.on("/a", said(body=bytes(3 << 20)))

    async with await send(session, "GET", script.url / "a", {}) as response:
        with pytest.raises(UpstreamFailed, match="more than 1000 bytes"):
            await read(response, 1000)


async def test_a_body_that_breaks_off_is_the_upstreams_failure(script: Script, session: aiohttp.ClientSession) -> None:
    """Half a body must not look like a whole one."""
    script.on("/a", broken_off(b"half", 8))

    async with await send(session, "GET", script.url / "a", {}) as response:
        with pytest.raises(UpstreamFailed, match="broke off"):
            await read(response, 100)


async def test_a_closed_port_is_named(session: aiohttp.ClientSession) -> None:
    """The message names the host, and nothing of our inside."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        authority = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UpstreamFailed, match=f"^{re.escape(authority)} cannot be reached$"):
            await send(session, "GET", URL(f"http://{authority}/"), {})


async def test_reading_slowly_holds_the_upstream_back(script: Script, session: aiohttp.ClientSession) -> None:
    """A slow client must cost megabytes, not the whole layer."""
    size, sent = 64 << 20, 0

    async def endless(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        nonlocal sent
        response = aiohttp.web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        while sent < size:
            await response.write(bytes(1 << 18))
            sent += 1 << 18
        return response

    script.on("/a", endless)
    async with await send(session, "GET", script.url / "a", {}) as response:
        body = pieces(response)
        await anext(body)
        seen = -1
        while sent != seen:
            seen = sent
            await asyncio.sleep(0.2)

        assert sent < size // 2
        response.close()
        await body.aclose()


async def test_a_body_that_drips_is_given_up(
    script: Script, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then is no silence, and would hold a connection for ever; the minute is shortened here."""
    monkeypatch.setattr(bodies, "DRIP_SECONDS", 0.2)
    script.on("/a", dripping)

    async with await send(session, "GET", script.url / "a", {}) as response:
        with pytest.raises(UpstreamSlow, match="does not answer in time"):
            async with asyncio.timeout(30):
                [piece async for piece in pieces(response)]


async def test_a_reader_that_takes_its_time_is_not_held_against_the_upstream(
    script: Script, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients may be slow; the upstream has sent all that it was asked for."""
    monkeypatch.setattr(bodies, "DRIP_SECONDS", 1)
    script.on("/a", said(body=b"here"))

    async with await send(session, "GET", script.url / "a", {}) as response:
        body = pieces(response)
        assert await anext(body) == b"here"
        await asyncio.sleep(1.2)
        assert [piece async for piece in body] == []


async def dripping(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
    response = aiohttp.web.StreamResponse()
    await response.prepare(request)
    for _ in range(1000):
        await response.write(b".")
        await asyncio.sleep(0.02)
    return response


async def test_a_slow_body_is_handed_on_as_it_comes(script: Script, session: aiohttp.ClientSession) -> None:
    """Gathering big pieces must not keep the first byte back."""
    go_on = asyncio.Event()

    async def hesitating(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        response = aiohttp.web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await go_on.wait()
        await response.write(b"second")
        return response

    script.on("/a", hesitating)
    async with await send(session, "GET", script.url / "a", {}) as response:
        body = pieces(response)
        assert await asyncio.wait_for(anext(body), 30) == b"first"
        go_on.set()
        assert [piece async for piece in body] == [b"second"]
