"""Connections that are checked: each address is compared with the policy when its socket is opened."""

import socket
from contextvars import ContextVar

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.tracing import Trace
from yarl import URL

from swell.errors import AddressForbidden, UpstreamBroken
from swell.net.addresses import is_public, looks_public
from swell.net.reach import Policy, Reach, name_with_port, trusting

CONNECTIONS, CONNECTIONS_OF_HOST = 768, 64
"""At once. A client may have names for more than one host, and registries that answer after 30 s."""
_asked: ContextVar[URL | None] = ContextVar("asked")  # None: the operator's proxy


class _RefusedError(OSError):
    """Raised when aiohttp opens a socket; after an OSError, aiohttp tries the other addresses of the name."""


class GuardedConnector(aiohttp.TCPConnector):
    """Checks the address of each connection with the URL that it is opened for.

    Connections are pooled by scheme, host, port and proxy: a request never gets a connection of another name, so an
    allowed host does not open its address to other names. A proxy resolves names itself; then only the spelling of the
    name is checked.
    """

    def __init__(self, policy: Policy, reach: Reach, resolver: AbstractResolver | None) -> None:
        super().__init__(
            socket_factory=self._open_socket,
            limit=CONNECTIONS,
            limit_per_host=CONNECTIONS_OF_HOST,
            ssl=trusting(reach.ca_file) if reach.ca_file else True,  # True: a context that aiohttp has already
            resolver=resolver,
        )
        self.reach = reach
        self._policy = policy
        self.known_hosts = policy.allowed_hosts | reach.known_hosts

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
