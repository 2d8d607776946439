"""The one door out: every request that is made on somebody's word goes through here.

The guard looks at the address that is about to be connected, not at the name it came from, so neither a literal, a
redirect nor a name that changes its address gets around it. Redirects are followed by us, hop by hop.
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
    """Where connections may go: public addresses, and each of *allowed_hosts* (`host` or `host:port`) anywhere."""

    allowed_hosts: frozenset[str] = frozenset()

    def allows(self, url: URL) -> bool:
        host = (url.host_subcomponent or "").lower()
        return host in self.allowed_hosts or f"{host}:{url.port}" in self.allowed_hosts


class Reach(Struct, frozen=True, kw_only=True):
    """How this service gets to other people's servers: settings, each as SWELL_<FIELD>.

    `ca_file` holds certificates (PEM) that are trusted beside the system's. `http_proxy` and `https_proxy` are asked
    for addresses of those schemes, unless `no_proxy` names the host or a domain above it. The environment's own
    variables of these names do not count. Other people's programs that we run are told the same.

    The timeouts are for a connection, for an answer's headers with all redirects and repetitions before them, and for
    a silence within a body.
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
        """Those that there are."""
        return tuple(filter(None, (self.http_proxy, self.https_proxy)))

    def proxy_for(self, url: URL) -> URL | None:
        """The one to ask for *url*; None to go there directly, as to this machine always."""
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
    """A session whose every connection keeps to *policy*; bytes come as they were sent, nothing is remembered.

    At most 256 connections, 64 of them to one host. Names are looked up by *resolver*, else as this machine does.

    Raises:
        SettingsInvalid: the certificates of *reach* cannot be read, its proxies are none, or its times are up.
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
    """What *session* was opened with."""
    return session.connector.reach if isinstance(session.connector, _GuardedConnector) else DIRECT


async def send(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    data: Data | None = None,
    seconds: float | None = None,
) -> aiohttp.ClientResponse:
    """Ask once and wait at most *seconds*, else the answer timeout, for the headers; a redirect is an answer, too.

    Raises:
        AddressForbidden: the policy forbids the address that *url* leads to.
        UpstreamFailed: nobody there, or no sense in the answer.
    """
    reach = reach_of(session)
    with translated(url):
        async with asyncio.timeout(seconds or reach.answer_timeout.total_seconds()):
            return await session.request(
                method, url, headers=headers, data=data, allow_redirects=False, proxy=reach.proxy_for(url)
            )


async def check_target(session: aiohttp.ClientSession, url: URL, source: URL) -> None:
    """See that a client may be sent to *url* on the word of the server at *source*: nothing is fetched.

    It must be a public address, or an allowed host that another allowed host names: the operator allows hosts for
    themselves, not for strangers' registries. A name counts as every address that it has now. Where a proxy resolves
    names, only their spelling can be checked.

    Raises:
        AddressForbidden: the policy forbids the address, or one of the addresses of the name.
        UpstreamFailed: there is no such name.
    """
    if isinstance(session.connector, _GuardedConnector):
        with translated(url):
            async with asyncio.timeout(session.connector.reach.connect_timeout.total_seconds()):
                await session.connector.check(url, source)


async def follow(
    session: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], data: Data | None = None
) -> aiohttp.ClientResponse:
    """Like `send`, through at most 10 redirects; `Authorization` goes to *url*'s own scheme, host and port only.

    *data* must be bytes here, to be sent to each of them.
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
        joined = str(response.url.join(URL(location, encoded=True)).with_user(None).with_fragment(None))
    except ValueError:
        joined = ""
    target = reachable(joined, encoded=True)
    if target is None or target.scheme not in {"https", response.url.scheme}:
        response.release()
        raise UpstreamFailed(f"{response.url.authority} redirects to where we do not follow")
    return target


def reachable(text: str, *, encoded: bool = False) -> URL | None:
    """*text* as an address whose host can be asked for; None when it is none. *encoded* is kept as it was written."""
    try:
        url = URL(text, encoded=encoded)
        has_host, _ = bool(url.host), url.authority  # both read more than the constructor did
    except ValueError:
        return None
    return (
        url if has_host and all(0 < len(label) < 64 for label in (url.raw_host or "").rstrip(".").split(".")) else None
    )


async def read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body of *response*.

    Raises:
        UpstreamFailed: it breaks off, or is longer than *limit* bytes.
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
    """How a body must come while we wait for it: never `silence` seconds without a byte, at least `slowest` bytes a
    second over each `window` seconds. A reader that takes its time is not counted."""

    silence: float | None = None
    slowest: int = SLOWEST
    window: float = DRIP_SECONDS


async def pieces(response: aiohttp.ClientResponse, pace: Pace | None = None) -> AsyncGenerator[bytes, None]:
    """The body of *response*, at first as it comes, soon in pieces of about 1 MiB: fewer pieces cost much less.

    What comes slowly is passed on after half a second. Reads no further ahead than two MiB.

    Raises:
        UpstreamFailed: it breaks off, nothing comes for the idle timeout, or it comes slower than *pace* says: less
            than 1 KiB/s while we wait a minute.
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
    """What comes of *response*; the time that our own reader takes does not count against the upstream."""
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
    """Closes a response from which nothing comes for *silence* seconds. One timer for all of its pieces: a timeout
    around each would cost more than the piece."""

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
        """The seconds that this piece was waited for."""
        waited = time.monotonic() - (self._since or 0.0)
        self._since = None
        return waited

    def end(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        """Bytes that have come count although no task has run since, as on a machine that is busy."""
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
    """Turn what goes wrong while talking to *url* into a sentence that names the host and no more."""
    try:
        yield
    except aiohttp.InvalidURL as error:
        raise AddressForbidden(f"{url.authority} is no address that this server connects to") from error
    except (aiohttp.ClientConnectorDNSError, UnicodeError) as error:  # no name is spelt so
        raise UpstreamBroken(f"there is no host {url.host}") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        raise UpstreamFailed(f"{url.authority} has no certificate that we trust") from error
    except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
        raise UpstreamBroken(f"the proxy does not lead to {url.authority}") from error
    except TimeoutError as error:
        raise UpstreamSlow(f"{url.authority} does not answer in time") from error
    except aiohttp.ClientConnectorError as error:
        raise UpstreamBroken(f"{url.authority} cannot be reached") from error
    except aiohttp.ClientError as error:
        raise UpstreamBroken(f"{url.authority} broke off its answer, or sent none that we can read") from error


def is_unconnected(error: UpstreamFailed) -> bool:
    """Whether *error*, of `translated`, means that no connection was opened: no request was sent."""
    return isinstance(error.__cause__, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}


_asked: ContextVar[URL | None] = ContextVar("asked")  # None: the operator's proxy


class _RefusedError(OSError):
    """Raised where aiohttp opens a socket: it tries the name's other addresses only after an OSError."""


class _GuardedConnector(aiohttp.TCPConnector):
    """Ties each connection to the URL it is opened for, so that an allowed host lends its address to no other name.

    Connections are pooled by scheme, host, port and proxy: a request never gets one that was opened for another name.
    A proxy resolves names itself; all that can be checked then is how the name looks.
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
        """Raise what `connect` would raise because of *url*'s address, unless *source* is as private."""
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
    return AddressForbidden(f"{url.host} has an address that this server must not connect to")


def _check(reach: Reach) -> None:
    for proxy in reach.proxies:
        if URL(proxy).scheme != "http" or not URL(proxy).host:
            raise SettingsInvalid("SWELL_HTTP_PROXY and SWELL_HTTPS_PROXY are of the form http://host:port")
    for name in ("connect_timeout", "answer_timeout", "idle_timeout"):
        if getattr(reach, name) <= timedelta():
            raise SettingsInvalid(f"SWELL_{name.upper()} must be longer than nothing")


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    """The system's certificates, and those in *ca_file*."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsInvalid(f"SWELL_CA_FILE: {ca_file} holds no certificates that can be read") from error
    return context
