"""The outbound guard: every request to a server that a client or a registry names passes it.

The guard checks the address of each connection, not the name. A literal address, a redirect, or a name that changes its
address cannot bypass it. `follow` follows redirects itself, one at a time.
"""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.tracing import Trace
from msgspec import Struct
from yarl import URL

from swell.concurrency.deadline import at_most
from swell.errors import AddressForbidden, UpstreamBroken, UpstreamFailed, UpstreamSlow
from swell.net.addresses import is_loopback, is_public, looks_public
from swell.settings import SettingsInvalid

PIECE = 1 << 20
Data = bytes | AsyncIterable[bytes]
"""The body of a request."""

DRIP_SECONDS = 60
SLOWEST = 1024  # bytes a second
GATHER_SECONDS = 0.5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_HOPS = 10

_LOCATION = re.compile(r"[!-~]+")


class Policy(Struct, frozen=True):
    """Allowed connections: to public addresses, and to `allowed_hosts` (`host` or `host:port`) at any address."""

    allowed_hosts: frozenset[str] = frozenset()

    def allows(self, url: URL) -> bool:
        host = (url.host_subcomponent or "").lower()
        return host in self.allowed_hosts or f"{host}:{url.port}" in self.allowed_hosts


class Reach(Struct, frozen=True, kw_only=True):
    """The settings of outbound connections; each field is read from SWELL_<FIELD>.

    `ca_file` has certificates (PEM) that are trusted in addition to the system's. `http_proxy` and `https_proxy` are
    used for URLs of their scheme, unless `no_proxy` names the host or a parent domain. The variables `http_proxy` and
    `https_proxy` of the environment are ignored. Programs that a service starts get the same settings.

    `connect_timeout` limits the time to connect; `answer_timeout` the time until the headers of the response, with all
    redirects and retries; `idle_timeout` the time between two parts of a body.
    """

    ca_file: Path | None = None
    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    connect_timeout: timedelta = timedelta(seconds=10)
    answer_timeout: timedelta = timedelta(seconds=30)
    idle_timeout: timedelta = timedelta(seconds=60)

    @property
    def proxies(self) -> tuple[str, ...]:
        """The proxies that are configured."""
        return tuple(filter(None, (self.http_proxy, self.https_proxy)))

    def proxy_for(self, url: URL) -> URL | None:
        """The proxy for *url*; None for a direct connection, as always to loopback."""
        if is_loopback(url.host or ""):
            return None
        proxy = {"http": self.http_proxy, "https": self.https_proxy}.get(url.scheme)
        host = f".{url.host}".lower()
        direct = any(name == "*" or host.endswith(f".{name.lower().lstrip('.')}") for name in self.no_proxy)
        return URL(proxy) if proxy and not direct else None


DIRECT = Reach()


def open_session(
    policy: Policy, reach: Reach = DIRECT, *, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """Return a session that applies *policy* to every connection; it stores no cookies and decodes no bodies.

    It opens at most 256 connections, 64 of them to one host. *resolver* resolves names; the default is the system's.

    Raises:
        SettingsInvalid: the certificates of *reach* cannot be read, a proxy is not a URL, or a timeout is not positive.
    """
    _check(reach)
    return aiohttp.ClientSession(
        connector=_GuardedConnector(policy, reach, resolver),
        headers={"User-Agent": f"swell/{version('swell')}", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(
            total=None,
            sock_connect=reach.connect_timeout.total_seconds(),
            sock_read=reach.idle_timeout.total_seconds(),
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=PIECE,
        max_field_size=1 << 14,
    )


def reach_of(session: aiohttp.ClientSession) -> Reach:
    """Return the settings of *session*."""
    return session.connector.reach if isinstance(session.connector, _GuardedConnector) else DIRECT


async def send(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    data: Data | None = None,
    seconds: float | None = None,
) -> aiohttp.ClientResponse:
    """Send one request; return the response when its headers have arrived. Redirects are not followed.

    It waits at most *seconds*; the default is the answer timeout. A deadline of the current work may end it earlier.

    Raises:
        AddressForbidden: the policy forbids the address of *url*.
        UpstreamFailed: the server is unreachable, or its response is not valid HTTP.
    """
    reach = reach_of(session)
    with translated(url):
        async with asyncio.timeout(at_most(seconds or reach.answer_timeout.total_seconds())):
            return await session.request(
                method, url, headers=headers, data=data, allow_redirects=False, proxy=reach.proxy_for(url)
            )


async def check_target(session: aiohttp.ClientSession, url: URL, source: URL) -> None:
    """Check that a client may be redirected to *url* by the server at *source*; no request is sent.

    *url* must have public addresses only, or both hosts must be in `allowed_hosts`: an allowed host is not open to
    redirects of other registries. If a proxy resolves names, only the spelling of the name is checked.

    Raises:
        AddressForbidden: the policy forbids one of the addresses.
        UpstreamFailed: the name does not exist.
    """
    if isinstance(session.connector, _GuardedConnector):
        with translated(url):
            async with asyncio.timeout(session.connector.reach.connect_timeout.total_seconds()):
                await session.connector.check(url, source)


async def follow(
    session: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], data: Data | None = None
) -> aiohttp.ClientResponse:
    """Like `send`, but follow at most 10 redirects; `Authorization` is sent to the scheme, host and port of *url* only.

    *data* must be bytes: it is sent again after each redirect.
    """
    origin = url.origin()
    for _ in range(MAX_HOPS + 1):
        shown = headers if url.origin() == origin else _without_secrets(headers)
        try:
            response = await send(session, method, url, shown, data)
        except UpstreamFailed as error:
            error.host = url.authority
            raise
        target = redirect_of(response)
        if target is None:
            return response
        response.release()
        url = target
    raise UpstreamFailed(f"{origin.authority} redirects more than {MAX_HOPS} times")


def redirect_of(response: aiohttp.ClientResponse) -> URL | None:
    """Return the target of a redirect, unchanged because it may be signed; None if *response* is not a redirect.

    Source: RFC 9110, 10.2.2 "Location", https://www.rfc-editor.org/rfc/rfc9110#section-10.2.2

    Raises:
        UpstreamFailed: the Location is missing, is not an http(s) URL, or changes from https to http.
    """
    if response.status not in REDIRECTS:
        return None
    location = response.headers.get("Location", "")
    if not _LOCATION.fullmatch(location):
        response.release()
        raise UpstreamFailed(f"{response.url.authority} redirects without a valid address")
    try:
        joined = str(response.url.join(URL(location, encoded=True)).with_user(None).with_fragment(None))
    except ValueError:
        joined = ""
    target = reachable(joined, encoded=True)
    if target is None or target.scheme not in {"https", response.url.scheme}:
        response.release()
        raise UpstreamFailed(f"{response.url.authority} redirects to an address that is not followed")
    return target


def reachable(text: str, *, encoded: bool = False) -> URL | None:
    """Parse *text* as a URL with a valid host; None if it is not one. With *encoded*, escapes are not changed."""
    try:
        url = URL(text, encoded=encoded)
        has_host, _ = bool(url.host), url.authority  # both read more than the constructor did
    except ValueError:
        return None
    return (
        url if has_host and all(0 < len(label) < 64 for label in (url.raw_host or "").rstrip(".").split(".")) else None
    )


async def read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read the whole body of *response*, at most *limit* bytes.

    Raises:
        UpstreamFailed: it is longer, or the connection breaks.
    """
    body = bytearray()
    if (response.content_length or 0) <= limit:
        async for piece in pieces(response):
            body += piece
            if len(body) > limit:
                break
        else:
            return bytes(body)
    response.close()
    raise UpstreamFailed(f"{response.url.authority} sends more than {limit} bytes")


class Pace(Struct, frozen=True):
    """The minimum rate of a body: no pause of `silence` seconds, and `slowest` bytes per second in each `window`.

    `window` is in seconds. Only time in which the reader waits counts.
    """

    silence: float | None = None
    slowest: int = SLOWEST
    window: float = DRIP_SECONDS


async def pieces(response: aiohttp.ClientResponse, pace: Pace | None = None) -> AsyncGenerator[bytes, None]:
    """Yield the body of *response*: the first bytes at once, later pieces of about 1 MiB, which cost less CPU time.

    A smaller piece is yielded after half a second. At most two MiB are read ahead.

    Raises:
        UpstreamFailed: the connection breaks, no byte arrives for the idle timeout, or the body is slower than *pace*:
            by default, less than 1 KiB/s over a minute.
    """
    enough, gathered, size, since = 1, list[bytes](), 0, 0.0
    with translated(response.url):
        try:
            async for piece in _flowing(response, pace or Pace(window=DRIP_SECONDS)):
                if not gathered:
                    since = time.monotonic()
                gathered.append(piece)
                size += len(piece)
                if size >= enough or time.monotonic() - since > GATHER_SECONDS:
                    yield b"".join(gathered)
                    enough, gathered, size = min(2 * size, PIECE), [], 0
        except (aiohttp.ClientError, TimeoutError):
            if gathered:
                yield b"".join(gathered)
            raise
    if gathered:
        yield b"".join(gathered)


async def _flowing(response: aiohttp.ClientResponse, pace: Pace) -> AsyncGenerator[bytes, None]:
    """Yield the parts of the body as they arrive; time that the caller spends between two parts is not counted."""
    waited, received = 0.0, 0
    watch = _Watch(response, pace.silence)
    try:
        async for piece in response.content.iter_any():
            waited += watch.arrived()
            received += len(piece)
            if waited > pace.window:
                if received < pace.slowest * waited:
                    raise TimeoutError
                waited, received = 0.0, 0
            yield piece
            watch.waiting()
    except aiohttp.ClientError as error:
        if watch.is_over:
            raise TimeoutError from error
        raise
    finally:
        watch.end()


class _Watch:
    """Closes *response* if no byte arrives for *silence* seconds.

    It uses one timer for the whole body: a timeout around each part would cost more time than the part.
    """

    def __init__(self, response: aiohttp.ClientResponse, silence: float | None) -> None:
        self.is_over = False
        self._response = response
        self._silence = silence
        self._since: float | None = time.monotonic()
        self._quiet = (response.content.total_bytes, time.monotonic())
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def waiting(self) -> None:
        self._since = time.monotonic()

    def arrived(self) -> float:
        """Return the seconds since `waiting`."""
        waited = time.monotonic() - (self._since or 0.0)
        self._since = None
        return waited

    def end(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        """Check the received bytes themselves: on a busy machine they arrive before a task can read them."""
        if self._silence is None:
            return
        now, total = time.monotonic(), self._response.content.total_bytes
        if self._since is None or total != self._quiet[0]:
            self._quiet = total, now
        if now - self._quiet[1] >= self._silence:
            self.is_over = True
            self._response.close()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._silence / 4, self._look)


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Raise errors of connections to *url* as `UpstreamFailed` or `AddressForbidden`; messages name only the host."""
    try:
        yield
    except aiohttp.InvalidURL as error:
        raise AddressForbidden(f"{url.authority} is not an address that this server connects to") from error
    except (aiohttp.ClientConnectorDNSError, UnicodeError) as error:  # no name is spelt so
        raise UpstreamBroken(f"there is no host {url.host}") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        raise UpstreamFailed(f"{url.authority} has no trusted certificate") from error
    except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
        raise UpstreamBroken(f"the outgoing proxy cannot reach {url.authority}") from error
    except TimeoutError as error:
        raise UpstreamSlow(f"{url.authority} does not answer in time") from error
    except aiohttp.ClientConnectorError as error:
        raise UpstreamBroken(f"{url.authority} cannot be reached") from error
    except aiohttp.ClientError as error:
        raise UpstreamBroken(f"{url.authority} broke off its response, or sent an invalid one") from error


def is_unconnected(error: UpstreamFailed) -> bool:
    """Whether *error*, raised by `translated`, means that no connection was opened, so no request was sent."""
    return isinstance(error.__cause__, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}


_asked: ContextVar[URL | None] = ContextVar("asked")  # None: the operator's proxy


class _RefusedError(OSError):
    """Raised when aiohttp opens a socket; after an OSError, aiohttp tries the other addresses of the name."""


class _GuardedConnector(aiohttp.TCPConnector):
    """Checks the address of each connection with the URL that it is opened for.

    Connections are pooled by scheme, host, port and proxy: a request never gets a connection of another name, so an
    allowed host does not open its address to other names. A proxy resolves names itself; then only the spelling of the
    name is checked.
    """

    def __init__(self, policy: Policy, reach: Reach, resolver: AbstractResolver | None) -> None:
        super().__init__(
            socket_factory=self._open_socket,
            limit=256,
            limit_per_host=64,
            ssl=_trusting(reach.ca_file),
            resolver=resolver,
        )
        self.reach = reach
        self._policy = policy

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (aiohttp's)
    ) -> aiohttp.connector.Connection:
        if req.proxy and not (looks_public(req.url.host or "") or self._policy.allows(req.url)):
            raise _forbidden(req.url)
        token = _asked.set(None if req.proxy else req.url)
        try:
            return await super().connect(req, traces, timeout)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _RefusedError):
                raise _forbidden(req.url) from None
            raise
        finally:
            _asked.reset(token)

    async def check(self, url: URL, source: URL) -> None:
        """Raise as `connect` does if the address of *url* is forbidden, unless *url* and *source* are allowed hosts."""
        host = url.raw_host or ""
        if self._policy.allows(url) and self._policy.allows(source):
            return
        if not looks_public(host):
            raise _forbidden(url)
        if self.reach.proxy_for(url):
            return
        try:
            found = await self._resolve_host(host, url.port or 443)
        except OSError as error:
            raise UpstreamBroken(f"there is no host {url.host}") from error
        if not all(is_public(str(each["host"])) for each in found):
            raise _forbidden(url)

    def _open_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = address
        asked = _asked.get()
        if not (asked is None or is_public(str(where[0])) or self._policy.allows(asked)):
            raise _RefusedError("refused by policy")
        return socket.socket(family, kind, protocol)


def _forbidden(url: URL) -> AddressForbidden:
    return AddressForbidden(f"this server must not connect to the address of {name_with_port(url)}")


def name_with_port(url: URL) -> str:
    """Return `host:port`, as in `SWELL_ALLOWED_HOSTS`, also for the default port of the scheme."""
    return f"{url.host_subcomponent}:{url.port}"


def _check(reach: Reach) -> None:
    for proxy in reach.proxies:
        if URL(proxy).scheme != "http" or not URL(proxy).host:
            raise SettingsInvalid("SWELL_HTTP_PROXY and SWELL_HTTPS_PROXY are of the form http://host:port")
    for name in ("connect_timeout", "answer_timeout", "idle_timeout"):
        if getattr(reach, name) <= timedelta():
            raise SettingsInvalid(f"SWELL_{name.upper()} must be longer than nothing")


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Return a TLS context that trusts the system's certificates and those in *ca_file*."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsInvalid(f"SWELL_CA_FILE: {ca_file} holds no certificates that can be read") from error
    return context
