"""The outbound guard: every request to a server that a client or a registry names passes it.

The guard checks the address of each connection, not the name. A literal address, a redirect, or a name that changes its
address cannot bypass it. `follow` follows redirects itself, one at a time.

Other code imports the guard from here: its settings are in `reach`, its connections in `guard`, bodies of responses in
`bodies`, errors of aiohttp in `failures`.
"""

import asyncio
import re
from collections.abc import AsyncIterable, Mapping
from importlib.metadata import version

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from swell.concurrency.deadline import at_most
from swell.errors import UpstreamFailed
from swell.net.bodies import PIECE, Pace, pieces, read
from swell.net.failures import is_unconnected, translated
from swell.net.guard import GuardedConnector
from swell.net.reach import DIRECT, Policy, Reach, check, name_with_port
from swell.net.upstreams import measuring, name_of, outcome_of
from swell.observe.spans import Kind, span

__all__ = [
    "DIRECT",
    "MAX_HOPS",
    "PIECE",
    "REDIRECTS",
    "Data",
    "Pace",
    "Policy",
    "Reach",
    "check_target",
    "follow",
    "is_unconnected",
    "name_with_port",
    "open_session",
    "pieces",
    "reach_of",
    "reachable",
    "read",
    "redirect_of",
    "send",
    "translated",
]

Data = bytes | AsyncIterable[bytes]
"""The body of a request."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_HOPS = 10

_LOCATION = re.compile(r"[!-~]+")


def open_session(
    policy: Policy, reach: Reach = DIRECT, *, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """Return a session that applies *policy* to every connection; it stores no cookies and decodes no bodies.

    It opens at most 768 connections, 64 of them to one host. *resolver* resolves names; the default is the system's.

    Raises:
        SettingsInvalid: the certificates of *reach* cannot be read, a proxy is not a URL, or a timeout is not positive.
    """
    check(reach)
    return aiohttp.ClientSession(
        connector=GuardedConnector(policy, reach, resolver),
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
    return session.connector.reach if isinstance(session.connector, GuardedConnector) else DIRECT


def known_hosts_of(session: aiohttp.ClientSession) -> frozenset[str]:
    """Return the hosts of *session* that the operator has set."""
    return session.connector.known_hosts if isinstance(session.connector, GuardedConnector) else frozenset()


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
    reach, upstream = reach_of(session), name_of(url, known_hosts_of(session))
    with (
        span(f"{method} {upstream}", Kind.CLIENT) as requesting,
        measuring(upstream, method) as outcome,
        translated(url),
    ):
        if requesting:
            requesting.attributes["server.address"] = url.authority
        async with asyncio.timeout(at_most(seconds or reach.answer_timeout.total_seconds())):
            response = await session.request(
                method, url, headers=headers, data=data, allow_redirects=False, proxy=reach.proxy_for(url)
            )
        outcome.value = outcome_of(upstream, response)
        if requesting:
            requesting.attributes["http.response.status_code"] = response.status
        return response


async def check_target(session: aiohttp.ClientSession, url: URL, source: URL) -> None:
    """Check that a client may be redirected to *url* by the server at *source*; no request is sent.

    *url* must have public addresses only, or both hosts must be in `allowed_hosts`: an allowed host is not open to
    redirects of other registries. If a proxy resolves names, only the spelling of the name is checked.

    Raises:
        AddressForbidden: the policy forbids one of the addresses.
        UpstreamFailed: the name does not exist.
    """
    if isinstance(session.connector, GuardedConnector):
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


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}
