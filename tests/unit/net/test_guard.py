"""The connector of the guard: which sockets it opens, and what it passes to a proxy."""

import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from msgspec import structs
from yarl import URL

from swell.errors import AddressForbidden
from swell.net import guard
from swell.net.guard import GuardedConnector
from swell.net.outbound import Policy, Reach, check_target, open_session
from swell.settings import SettingsInvalid
from tests.unit.net.test_outbound import Resolver

ALLOWED = Policy(frozenset({"registry.corp"}))
PROXY = URL("http://proxy.example:3128")
ANY = aiohttp.ClientTimeout()


class Connected(Exception):
    """The connection would be opened now."""


@pytest.fixture
async def connector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GuardedConnector]:
    """A connector whose connections end before a socket is opened; `socket.socket` is a tuple of its arguments."""

    async def connect(*_: object) -> None:
        raise Connected(guard._asked.get())

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect)
    monkeypatch.setattr(guard, "socket", SimpleNamespace(socket=lambda *arguments: arguments))
    opened = GuardedConnector(ALLOWED, Reach(), Resolver())
    yield opened
    await opened.close()


async def connect(connector: GuardedConnector, url: str, proxy: URL | None = None) -> URL | None:
    """Connect for a request to *url*; return the URL with which addresses are compared, None for a proxy's."""
    request = cast(aiohttp.ClientRequest, SimpleNamespace(url=URL(url), proxy=proxy))
    with pytest.raises(Connected) as caught:
        await connector.connect(request, [], ANY)
    return cast("URL | None", caught.value.args[0])


async def test_an_address_is_compared_with_the_url_of_its_request(connector: GuardedConnector) -> None:
    """And only while the connection is opened; the address of the operator's proxy may be private."""
    assert await connect(connector, "http://localhost/") == URL("http://localhost/")
    assert guard._asked.get(None) is None
    assert await connect(connector, "https://quay.io/", PROXY) is None


async def test_a_proxy_gets_public_names_and_allowed_ones(connector: GuardedConnector) -> None:
    """Others are refused before it is asked."""
    assert await connect(connector, "http://registry.corp/", PROXY) is None
    request = cast(aiohttp.ClientRequest, SimpleNamespace(url=URL("http://other.internal/"), proxy=PROXY))
    with pytest.raises(AddressForbidden, match=r"must not connect to the address of other\.internal:80$"):
        await connector.connect(request, [], ANY)


@pytest.mark.parametrize(
    ("asked", "address", "is_opened"),
    [
        ("https://quay.io/", "93.184.215.14", True),
        ("https://quay.io/", "10.0.0.1", False),
        ("https://quay.io/", "127.0.0.1", False),
        ("https://registry.corp/", "10.0.0.1", True),
        ("https://registry.corp.example/", "10.0.0.1", False),
        (None, "10.0.0.1", True),
    ],
)
async def test_a_socket_is_opened_for_an_address_that_the_policy_allows(
    connector: GuardedConnector, asked: str | None, address: str, is_opened: bool
) -> None:
    """A public one; any one of an allowed host, and of the operator's proxy."""
    token = guard._asked.set(URL(asked) if asked else None)
    where = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))
    try:
        if is_opened:
            assert cast(Any, connector._open_socket(where)) == (socket.AF_INET, socket.SOCK_STREAM, 6)
        else:
            with pytest.raises(OSError, match="refused by policy"):
                connector._open_socket(where)
    finally:
        guard._asked.reset(token)


async def test_a_refused_address_is_an_error_of_the_policy(
    connector: GuardedConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other errors of connections stay as they are, so that the registry is reported as broken."""

    def failing(error: OSError) -> None:
        async def connect(*_: object) -> None:
            key = cast(Any, SimpleNamespace(host="quay.io", port=443, is_ssl=True, ssl=True))
            raise aiohttp.ClientConnectorError(key, error)

        monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect)

    request = cast(aiohttp.ClientRequest, SimpleNamespace(url=URL("https://quay.io/"), proxy=None))
    failing(guard._RefusedError("refused by policy"))
    with pytest.raises(AddressForbidden, match=r"quay\.io:443"):
        await connector.connect(request, [], ANY)
    failing(OSError("unreachable"))
    with pytest.raises(aiohttp.ClientConnectorError):
        await connector.connect(request, [], ANY)


class Ports(Resolver):
    """Records the ports that it is asked for."""

    def __init__(self) -> None:
        super().__init__("93.184.215.14")
        self.ports: list[int] = []

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[Any]:
        self.ports.append(port)
        return list(await super().resolve(host, port, family))


async def test_a_name_is_looked_up_with_the_port_of_the_url() -> None:
    """A policy names hosts with their ports."""
    resolver = Ports()
    async with open_session(Policy(), resolver=resolver) as session:
        for url in ("https://a.example/", "https://b.example:8443/", "http://c.example/"):
            await check_target(session, URL(url), URL("https://quay.io/"))
    assert resolver.ports == [443, 8443, 80]


def test_a_server_has_ten_seconds_to_connect_and_thirty_to_answer() -> None:
    """The documented defaults of SWELL_CONNECT_TIMEOUT, SWELL_ANSWER_TIMEOUT and SWELL_IDLE_TIMEOUT."""
    reach = Reach()
    seconds = [timedelta(seconds=each) for each in (10, 30, 60)]
    assert [reach.connect_timeout, reach.answer_timeout, reach.idle_timeout] == seconds


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy"])
async def test_each_proxy_is_checked(name: str) -> None:
    """At the start of the service."""
    with pytest.raises(SettingsInvalid, match="SWELL_HTTP_PROXY and SWELL_HTTPS_PROXY"):
        open_session(Policy(), structs.replace(Reach(), **{name: "socks5://proxy.example"}))
    assert Reach(http_proxy="http://a", https_proxy="http://b").proxies == ("http://a", "http://b")
