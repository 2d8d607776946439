"""The one door out: every request that is made on somebody's word goes through here.

The guard looks at the address that is about to be connected, not at the name it came from, so neither a literal, a
redirect nor a name that changes its address gets around it. Redirects are followed by us, hop by hop.
"""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from ipaddress import IPv4Address, ip_address, ip_network

import aiohttp
from aiohttp.tracing import Trace
from msgspec import Struct
from yarl import URL

from swell.errors import AddressForbidden, UpstreamFailed

PIECE = 1 << 20
Data = bytes | AsyncIterable[bytes]
"""The body of a request."""

HEADERS_SECONDS = 30
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_HOPS = 10

# IANA's special-purpose registries, and the two clouds whose metadata service has an address that looks public.
_REFUSED = [
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
]
_GLOBAL_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
_LOCATION = re.compile(r"[!-~]+")


class Policy(Struct, frozen=True):
    """Where connections may go: public addresses, and each of *allowed_hosts* (`host` or `host:port`) anywhere."""

    allowed_hosts: frozenset[str] = frozenset()

    def allows(self, url: URL) -> bool:
        host = (url.host_subcomponent or "").lower()
        return host in self.allowed_hosts or f"{host}:{url.port}" in self.allowed_hosts


def is_public(address: str) -> bool:
    """Whether *address* is one of the public internet; an IPv4 address inside a NAT64 one counts as itself."""
    found = ip_address(address)
    if found in _NAT64:
        found = IPv4Address(int(found) & 0xFFFFFFFF)
    if found.version == 6 and found not in _GLOBAL_UNICAST:
        return False
    return not any(found in network for network in _REFUSED)


def open_session(policy: Policy) -> aiohttp.ClientSession:
    """A session whose every connection keeps to *policy*; bytes come as they were sent, nothing is remembered.

    Connecting takes at most 10 s, a silence within a body at most 60 s; 256 connections, 64 of them to one host.
    """
    return aiohttp.ClientSession(
        connector=_GuardedConnector(policy),
        headers={"User-Agent": f"swell/{version('swell')}", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=PIECE,
        max_field_size=1 << 14,
    )


async def send(
    session: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], data: Data | None = None
) -> aiohttp.ClientResponse:
    """Ask once and wait at most 30 s for the answer's headers; a redirect is an answer like others.

    Raises:
        AddressForbidden: the policy forbids the address that *url* leads to.
        UpstreamFailed: nobody there, or no sense in the answer.
    """
    with translated(url):
        async with asyncio.timeout(HEADERS_SECONDS):
            return await session.request(method, url, headers=headers, data=data, allow_redirects=False)


async def follow(
    session: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], data: Data | None = None
) -> aiohttp.ClientResponse:
    """Like `send`, through at most 10 redirects; `Authorization` goes to *url*'s own scheme, host and port only.

    *data* must be bytes here, to be sent to each of them.
    """
    origin = url.origin()
    for _ in range(MAX_HOPS + 1):
        shown = headers if url.origin() == origin else _without_secrets(headers)
        response = await send(session, method, url, shown, data)
        target = redirect_of(response)
        if target is None:
            return response
        response.release()
        url = target
    raise UpstreamFailed(f"{origin.authority} redirects more than {MAX_HOPS} times")


def redirect_of(response: aiohttp.ClientResponse) -> URL | None:
    """Where *response* sends us, kept as it was written because it may be signed; None when it is no redirect.

    Raises:
        UpstreamFailed: the Location is missing, is no http(s) address, or leads from https to http.
    """
    if response.status not in REDIRECTS:
        return None
    location = response.headers.get("Location", "")
    if not _LOCATION.fullmatch(location):
        response.release()
        raise UpstreamFailed(f"{response.url.authority} redirects without saying where")
    try:
        target = response.url.join(URL(location, encoded=True)).with_user(None).with_fragment(None)
    except ValueError:
        target = URL()
    if not target.host or target.scheme not in {"https", response.url.scheme}:
        response.release()
        raise UpstreamFailed(f"{response.url.authority} redirects to where we do not follow")
    return target


async def read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body of *response*.

    Raises:
        UpstreamFailed: it breaks off, or is longer than *limit* bytes.
    """
    body = bytearray()
    async for piece in pieces(response):
        body += piece
        if len(body) > limit:
            response.close()
            raise UpstreamFailed(f"{response.url.authority} sends more than {limit} bytes")
    return bytes(body)


async def pieces(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The body of *response*, at first as it comes, soon in pieces of about 1 MiB: fewer pieces cost much less.

    Reads no further ahead than two MiB.

    Raises:
        UpstreamFailed: it breaks off, or nothing comes for 60 s.
    """
    enough, gathered, size = 1, list[bytes](), 0
    with translated(response.url):
        async for piece in response.content.iter_any():
            gathered.append(piece)
            size += len(piece)
            if size >= enough:
                yield b"".join(gathered)
                enough, gathered, size = min(2 * size, PIECE), [], 0
    if gathered:
        yield b"".join(gathered)


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn what goes wrong while talking to *url* into a sentence that names the host and no more."""
    try:
        yield
    except aiohttp.ClientConnectorDNSError as error:
        raise UpstreamFailed(f"there is no host {url.host}") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        raise UpstreamFailed(f"{url.authority} has no certificate that we trust") from error
    except TimeoutError as error:
        raise UpstreamFailed(f"{url.authority} does not answer in time") from error
    except aiohttp.ClientConnectorError as error:
        raise UpstreamFailed(f"{url.authority} cannot be reached") from error
    except aiohttp.ClientError as error:
        raise UpstreamFailed(f"{url.authority} broke off its answer, or sent none that we can read") from error


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}


_asked: ContextVar[URL] = ContextVar("asked")


class _RefusedError(OSError):
    """Raised where aiohttp opens a socket: it tries the name's other addresses only after an OSError."""


class _GuardedConnector(aiohttp.TCPConnector):
    """Ties each connection to the URL it is opened for, so that an allowed host lends its address to no other name.

    Connections are pooled by scheme, host and port: a request never gets one that was opened for another name.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(socket_factory=self._open_socket, limit=256, limit_per_host=64)
        self._policy = policy

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (aiohttp's)
    ) -> aiohttp.connector.Connection:
        token = _asked.set(req.url)
        try:
            return await super().connect(req, traces, timeout)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _RefusedError):
                raise AddressForbidden(f"{req.url.host} has an address that this server must not connect to") from None
            raise
        finally:
            _asked.reset(token)

    def _open_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = address
        if not (is_public(str(where[0])) or self._policy.allows(_asked.get())):
            raise _RefusedError("refused by policy")
        return socket.socket(family, kind, protocol)
