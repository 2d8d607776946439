"""Redirects: which are followed, to where, with which headers and how often; and what a session sends."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, cast

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from swell.errors import AddressForbidden, UpstreamBroken, UpstreamFailed, UpstreamSlow
from swell.net import outbound
from swell.net.guard import CONNECTIONS, CONNECTIONS_OF_HOST
from swell.net.outbound import (
    DIRECT,
    MAX_HOPS,
    PIECE,
    Policy,
    Reach,
    check_target,
    follow,
    known_hosts_of,
    open_session,
    reach_of,
    redirect_of,
    send,
)
from swell.net.reach import name_with_port
from tests.unit.net.test_outbound import Resolver

REGISTRY = URL("https://registry.example/v2/a/blobs/sha256:1")


class Response:
    """A response of a server, as far as redirects need it."""

    def __init__(self, status: int, location: str | None = None, url: URL = REGISTRY) -> None:
        self.status = status
        self.headers = CIMultiDict({} if location is None else {"Location": location})
        self.url = url
        self.released = False

    def release(self) -> None:
        self.released = True


def target_of(response: Response) -> URL | None:
    return redirect_of(cast(aiohttp.ClientResponse, response))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_has_a_target(status: int) -> None:
    """Registries and their storage use all five."""
    response = Response(status, "https://storage.example/x")

    assert target_of(response) == URL("https://storage.example/x")
    assert not response.released


@pytest.mark.parametrize("status", [200, 201, 206, 300, 304, 305, 306, 309, 401, 404, 500])
def test_any_other_status_has_none(status: int) -> None:
    """A `Location` beside it, as of an upload, is not followed."""
    assert target_of(Response(status, "https://storage.example/x")) is None


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://storage.example/x?sig=a%2Fb%20c+d&e=", "https://storage.example/x?sig=a%2Fb%20c+d&e="),
        ("/v2/b", "https://registry.example/v2/b"),
        ("sha256:2", "https://registry.example/v2/a/blobs/sha256:2"),
        ("//storage.example/x", "https://storage.example/x"),
        ("https://storage.example:8443/x", "https://storage.example:8443/x"),
        ("https://user:word@storage.example/x", "https://storage.example/x"),
        ("https://storage.example/x#part", "https://storage.example/x"),
    ],
)
def test_a_target_is_unchanged_but_for_user_and_fragment(location: str, expected: str) -> None:
    """It may be signed, so that another spelling of an escape would be refused; a user name would be a login."""
    target = target_of(Response(307, "./sha256:2" if location == "sha256:2" else location))

    assert str(target) == expected


@pytest.mark.parametrize(
    ("source", "location"),
    [
        ("https://registry.example/", "http://registry.example/x"),
        ("https://registry.example/", "ftp://registry.example/x"),
        ("http://registry.example/", "ftp://registry.example/x"),
        ("https://registry.example/", "file:///etc/passwd"),
        ("https://registry.example/", "javascript:alert(1)"),
        ("https://registry.example/", "https://["),
        ("https://registry.example/", f"https://{64 * 'a'}.example/"),
        ("https://registry.example/", "https://a..example/"),
        ("https://registry.example/", "https://registry.example:99999/"),
    ],
)
def test_a_target_that_is_unsafe_is_refused(source: str, location: str) -> None:
    """Above all from https to http: the next request, with its header fields, would be readable on the way."""
    response = Response(302, location, URL(source))

    with pytest.raises(UpstreamFailed, match=r"registry\.example:\d+ redirects to an address that is not followed"):
        target_of(response)
    assert response.released


@pytest.mark.parametrize("location", ["http://storage.example/x", "https://storage.example/x"])
def test_a_target_may_be_as_safe_or_safer(location: str) -> None:
    """Registries on http are allowed by name; their storage may use either scheme."""
    assert str(target_of(Response(302, location, URL("http://registry.example/")))) == location


@pytest.mark.parametrize("location", [None, "", "https://a.example/ b", "https://a.example/\x7f", "https://ä.example/"])
def test_a_location_that_is_no_url_is_refused(location: str | None) -> None:
    """Only visible ASCII letters are in a URL; others could end a line of the header."""
    response = Response(302, location)

    with pytest.raises(UpstreamFailed, match=r"registry\.example:\d+ redirects without a valid address"):
        target_of(response)
    assert response.released


class Servers:
    """Servers that answer one request after the other, instead of `send`; `requests` are URLs and header fields."""

    def __init__(self, *answers: Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, Mapping[str, str], object]] = []

    async def send(
        self, session: object, method: str, url: URL, headers: Mapping[str, str], data: object = None
    ) -> Response:
        self.requests.append((str(url), headers, data))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        answer.url = url
        return answer


async def follow_through(servers: Servers, monkeypatch: pytest.MonkeyPatch, headers: Mapping[str, str]) -> Response:
    monkeypatch.setattr(outbound, "send", servers.send)
    async with aiohttp.ClientSession() as session:
        return cast(Response, await follow(session, "GET", REGISTRY, headers, b"body"))


async def test_secrets_are_sent_to_the_first_origin_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another port is another origin. The first one may have them again; all other fields go everywhere."""
    first = Response(307, "https://registry.example:8443/x")
    servers = Servers(
        first, Response(307, "https://storage.example/x"), Response(307, "https://registry.example/y"), Response(200)
    )

    response = await follow_through(servers, monkeypatch, {"authorization": "Bearer secret", "Range": "bytes=1-"})

    assert response.status == 200
    assert [(url, sorted(headers)) for url, headers, _ in servers.requests] == [
        (str(REGISTRY), ["Range", "authorization"]),
        ("https://registry.example:8443/x", ["Range"]),
        ("https://storage.example/x", ["Range"]),
        ("https://registry.example/y", ["Range", "authorization"]),
    ]
    assert {data for *_, data in servers.requests} == {b"body"}
    assert first.released
    assert not response.released


async def test_redirects_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten redirects, a server is not asked again."""
    servers = Servers(*(Response(307, f"/{hop}") for hop in range(2 * MAX_HOPS)))

    with pytest.raises(UpstreamFailed, match=r"registry\.example:\d+ redirects more than 10 times"):
        await follow_through(servers, monkeypatch, {})
    assert len(servers.requests) == 11

    ten = Servers(*(Response(307, f"/{hop}") for hop in range(MAX_HOPS)), Response(200))
    assert (await follow_through(ten, monkeypatch, {})).status == 200


async def test_an_error_names_the_host_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the storage behind a registry."""
    servers = Servers(Response(307, "https://storage.example:8443/x"), UpstreamFailed("broken"))

    with pytest.raises(UpstreamFailed) as caught:
        await follow_through(servers, monkeypatch, {})
    assert caught.value.host == "storage.example:8443"


@pytest.fixture
async def proxied() -> AsyncIterator[aiohttp.ClientSession]:
    """A session with a proxy, one allowed host, and other timeouts than the default."""
    reach = Reach(
        http_proxy="http://proxy.example:3128",
        connect_timeout=timedelta(seconds=3),
        answer_timeout=timedelta(seconds=4),
        idle_timeout=timedelta(seconds=5),
    )
    async with open_session(Policy(frozenset({"registry.corp"})), reach) as session:
        yield session


async def test_a_session_has_the_limits_of_its_settings(proxied: aiohttp.ClientSession) -> None:
    """No total timeout: large blobs take long. Fields of a header are bounded."""
    assert proxied.timeout == aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=5)
    assert proxied.connector is not None
    assert (
        (proxied.connector.limit, proxied.connector.limit_per_host) == (CONNECTIONS, CONNECTIONS_OF_HOST) == (768, 64)
    )
    assert cast(Any, proxied)._max_field_size == 16_384
    assert cast(Any, proxied)._read_bufsize == PIECE


async def test_a_session_shares_nothing_between_requests(proxied: aiohttp.ClientSession) -> None:
    """A cookie of one client's registry must not reach another; a digest is that of the bytes as they were sent."""
    assert isinstance(proxied.cookie_jar, aiohttp.DummyCookieJar)
    assert proxied.auto_decompress is False
    assert proxied.trust_env is False
    assert proxied.headers["User-Agent"].startswith("swell/")
    assert proxied.headers["Accept-Encoding"] == "identity"


async def test_a_session_knows_its_settings(proxied: aiohttp.ClientSession) -> None:
    """Sessions of others have none."""
    assert reach_of(proxied).answer_timeout == timedelta(seconds=4)
    assert known_hosts_of(proxied) == {"registry.corp"}
    async with aiohttp.ClientSession() as other:
        assert reach_of(other) is DIRECT
        assert known_hosts_of(other) == frozenset()


async def test_a_request_goes_through_the_proxy_and_follows_nothing(
    proxied: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`follow` checks each hop; aiohttp would not."""
    sent: dict[str, Any] = {}

    async def request(_: object, method: str, url: URL, **rest: Any) -> Response:
        sent.update(rest, method=method, url=url)
        return Response(200)

    monkeypatch.setattr(aiohttp.ClientSession, "request", request)
    url = URL("http://quay.example/v2/")

    response = await send(proxied, "POST", url, {"A": "b"}, b"body")

    assert response.status == 200
    assert sent == {
        "method": "POST",
        "url": url,
        "headers": {"A": "b"},
        "data": b"body",
        "allow_redirects": False,
        "proxy": URL("http://proxy.example:3128"),
    }


@pytest.mark.parametrize(("seconds", "waits"), [(None, 4), (0.5, 0.5)])
async def test_a_request_waits_as_long_as_it_may(
    proxied: aiohttp.ClientSession, seconds: float | None, waits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer timeout of the settings, or the caller's own."""
    deadlines: list[float | None] = []
    timeout = asyncio.timeout

    def recorded(delay: float | None) -> asyncio.Timeout:
        deadlines.append(delay)
        return timeout(0)

    async def request(*_: object, **__: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(aiohttp.ClientSession, "request", request)
    monkeypatch.setattr(asyncio, "timeout", recorded)
    with pytest.raises(UpstreamSlow):
        await send(proxied, "GET", URL("http://quay.example/"), {}, seconds=seconds)
    assert deadlines == [waits]


@pytest.mark.parametrize("host", ["localhost", "metadata.internal", "127.0.0.1", "10.0.0.1"])
async def test_a_proxy_gets_no_name_that_looks_private(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would connect from inside the operator's network."""
    monkeypatch.setattr(Reach, "proxy_for", lambda *_: URL("http://proxy.example:3128"))
    async with open_session(Policy()) as session:
        with pytest.raises(AddressForbidden, match=f"{host}:80"):
            await send(session, "GET", URL(f"http://{host}/"), {})


class NoResolver(Resolver):
    """Finds no name."""

    async def resolve(self, *_: object, **__: object) -> list[Any]:
        raise OSError("unknown")


async def test_a_client_is_sent_to_an_allowed_host_by_an_allowed_host_only() -> None:
    """Else any registry could send the operator's clients into the operator's network."""
    inner, other = URL("https://storage.corp/"), URL("https://registry.example/")
    allowed = Policy(frozenset({"storage.corp", "registry.corp", "10.0.0.1"}))
    async with open_session(allowed, resolver=Resolver("10.0.0.1")) as session:
        await check_target(session, inner, URL("https://registry.corp/"))
        for target in (inner, URL("https://10.0.0.1/")):
            with pytest.raises(AddressForbidden):
                await check_target(session, target, other)
        with pytest.raises(AddressForbidden):
            await check_target(session, URL("https://storage.example/"), URL("https://registry.corp/"))


async def test_a_name_that_is_unknown_is_an_error_of_the_registry() -> None:
    """Not of the client that pulls."""
    async with open_session(Policy(), resolver=NoResolver()) as session:
        with pytest.raises(UpstreamBroken, match=r"there is no host storage\.example"):
            await check_target(session, URL("https://storage.example/"), REGISTRY)


async def test_names_are_not_looked_up_where_a_proxy_does_it() -> None:
    """This machine may know no names of the internet."""
    reach = Reach(https_proxy="http://proxy.example:3128")
    async with open_session(Policy(), reach, resolver=NoResolver()) as session:
        await check_target(session, URL("https://storage.example/"), REGISTRY)
        with pytest.raises(AddressForbidden):
            await check_target(session, URL("https://storage.internal/"), REGISTRY)


def test_a_name_has_its_port() -> None:
    """As an operator writes it into SWELL_ALLOWED_HOSTS."""
    assert name_with_port(URL("https://quay.io/x")) == "quay.io:443"
    assert name_with_port(URL("http://[::1]:5000/")) == "[::1]:5000"
