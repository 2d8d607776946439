"""The only way out for buildkitd: an HTTP proxy that connects where the outbound policy allows.

buildkitd's network namespace has no route, so everything that it fetches itself (base images, `ADD https://…`,
`ADD git…`, cache import) comes through here: `CONNECT` for https, absolute addresses for http. Each connection is
checked against the address that is about to be connected, so neither a redirect nor a name that changes its address
gets around the policy. Sources: RFC 9110, "CONNECT",
https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6; RFC 9112, "Request Target",
https://www.rfc-editor.org/rfc/rfc9112#section-3.2
"""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from yarl import URL

from swell.concurrency.tasks import TaskOwner
from swell.log import log
from swell.net.addresses import is_public, looks_public
from swell.net.outbound import DIRECT, Policy, Reach, name_with_port

PORT = 3128
"""Where the proxy listens in buildkitd's network namespace, at 127.0.0.1."""

_CHUNK = 256 << 10
_LONGEST_HEAD = 64 << 10
_HEAD_WITHIN = 30.0
_MOST_CONNECTIONS = 128
_MOST_REFUSALS = 10
_HOP_BY_HOP = frozenset({b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"te", b"upgrade"})


Resolve = Callable[[str, int], Awaitable[list[str]]]


class Refused(Exception):
    """The proxy does not connect; the text says why, for the log of the build."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


class EgressProxy:
    """Connects for one build. *reach* is how this service itself gets out: certificates do not matter here."""

    def __init__(self, policy: Policy, reach: Reach = DIRECT, resolve: Resolve | None = None) -> None:
        """*resolve* gives the addresses of a name; without it, this machine does."""
        self._policy = policy
        self._reach = reach
        self._resolve = resolve or _addresses
        self.refused = list[str]()
        """What policy forbade, in words; the first few."""
        self._connections = TaskOwner()

    @asynccontextmanager
    async def serve(self, listening: socket.socket) -> AsyncIterator[None]:
        """Serve connections of *listening* for the length of the block."""

        def connected(reader: StreamReader, writer: StreamWriter) -> None:
            if len(self._connections) >= _MOST_CONNECTIONS:
                writer.close()
            else:
                self._connections.start(self._serve(reader, writer))

        server = await asyncio.start_server(connected, sock=listening, limit=_LONGEST_HEAD)
        try:
            yield
        finally:
            server.close()
            await self._connections.cancel()
            await server.wait_closed()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        there: StreamWriter | None = None
        try:
            async with asyncio.timeout(_HEAD_WITHIN):
                head = await reader.readuntil(b"\r\n\r\n")
            try:
                back, there = await self._open(head, writer)
            except Refused as refused:
                if len(self.refused) < _MOST_REFUSALS:
                    self.refused.append(str(refused))
                body = f"{refused}\n".encode()
                writer.write(
                    b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                    % (refused.status.encode(), len(body), body)
                )
                await writer.drain()
                return
            await _relay(reader, writer, back, there)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client sees a connection that ends
        finally:
            for each in (there, writer):
                if each is not None:
                    each.close()
                    with suppress(OSError):
                        await each.wait_closed()

    async def _open(self, head: bytes, writer: StreamWriter) -> tuple[StreamReader, StreamWriter]:
        """Connect for the request with *head*, and answer or pass on its first line.

        Raises:
            Refused: it is no request for a proxy, or policy forbids it.
        """
        request, *headers = head[:-4].split(b"\r\n")
        try:
            method, target, _ = request.decode("ascii").split(" ")
            url = URL(f"https://{target}", encoded=True) if method == "CONNECT" else URL(target, encoded=True)
            host, port = url.host_subcomponent, url.port
        except ValueError as error:
            raise Refused("400 Bad Request", "this is not a request for a proxy") from error
        if (
            not host
            or not port
            or url.scheme not in {"http", "https"}
            or (method != "CONNECT" and url.scheme != "http")
        ):
            raise Refused("400 Bad Request", "this is not a request for a proxy")
        proxy = self._reach.proxy_for(url)
        if proxy:
            return await self._through(proxy, method, url, headers, writer)
        back, there = await self._connect(url)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            there.write(_origin_form(method, url, headers))
        return back, there

    async def _through(
        self, proxy: URL, method: str, url: URL, headers: Iterable[bytes], writer: StreamWriter
    ) -> tuple[StreamReader, StreamWriter]:
        """The same through the operator's *proxy*, which resolves names: only the name can be checked."""
        if not (looks_public(url.host or "") or self._policy.allows(url)):
            raise _forbidden(url)
        back, there = await _dial([(proxy.host or "", proxy.port or 80)], self._reach, url)
        login = b64encode(f"{proxy.user}:{proxy.password or ''}".encode()) if proxy.user else b""
        shown = [b"Proxy-Authorization: Basic " + login] if login else []
        if method == "CONNECT":
            target = (
                url.authority.encode() if url.explicit_port else b"%s:%d" % (url.authority.encode(), url.port or 443)
            )
            there.write(b"\r\n".join([b"CONNECT %s HTTP/1.1" % target, b"Host: " + target, *shown, b"", b""]))
            async with asyncio.timeout(self._reach.connect_timeout.total_seconds()):
                answer = await back.readuntil(b"\r\n\r\n")
            if answer.split(b" ", 2)[1:2] != [b"200"]:
                there.close()
                raise Refused("502 Bad Gateway", f"the operator's proxy does not lead to {url.host}")
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            kept = _passed_on(headers)
            there.write(
                b"\r\n".join([b"%s %s HTTP/1.1" % (method.encode(), str(url).encode()), *kept, *shown, b"", b""])
            )
        return back, there

    async def _connect(self, url: URL) -> tuple[StreamReader, StreamWriter]:
        """A connection to an address of *url*'s host that policy allows."""
        host, port = (url.host or "").rstrip("."), url.port or 443
        try:
            async with asyncio.timeout(self._reach.connect_timeout.total_seconds()):
                addresses = await self._resolve(host, port)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise Refused("502 Bad Gateway", f"there is no host {url.host}") from error
        allowed = [address for address in addresses if self._policy.allows(url) or is_public(address.partition("%")[0])]
        if not allowed:
            log.info("egress refused", host=url.host, port=port)
            raise _forbidden(url)
        return await _dial([(address, port) for address in allowed], self._reach, url)


async def _addresses(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def _dial(addresses: Iterable[tuple[str, int]], reach: Reach, url: URL) -> tuple[StreamReader, StreamWriter]:
    for host, port in addresses:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(reach.connect_timeout.total_seconds()):
                return await asyncio.open_connection(host, port, limit=_CHUNK)
    raise Refused("502 Bad Gateway", f"{url.host} cannot be reached")


def _forbidden(url: URL) -> Refused:
    return Refused("403 Forbidden", f"this server must not connect to the address of {name_with_port(url)}")


def _origin_form(method: str, url: URL, headers: Iterable[bytes]) -> bytes:
    """The request's head for the server itself; the connection ends with its answer."""
    target = url.raw_path_qs.encode() or b"/"
    return b"\r\n".join([b"%s %s HTTP/1.1" % (method.encode(), target), *_passed_on(headers), b"", b""])


def _passed_on(headers: Iterable[bytes]) -> list[bytes]:
    kept = [header for header in headers if header.partition(b":")[0].strip().lower() not in _HOP_BY_HOP]
    return [*kept, b"Connection: close"]


async def _relay(reader: StreamReader, writer: StreamWriter, back: StreamReader, there: StreamWriter) -> None:
    """Copy both ways until both ends have closed, or one of them breaks."""
    async with asyncio.TaskGroup() as copying:
        copying.create_task(_copy(reader, there))
        copying.create_task(_copy(back, writer))


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        writer.close()  # which ends the other direction
        return
    if writer.can_write_eof():
        with suppress(OSError):
            writer.write_eof()
