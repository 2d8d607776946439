"""An HTTP server for blobs: the kernel sends files to clients with sendfile(2).

Sending the same bytes from Python takes four times the processor time, and memory for each slow client.
"""

import asyncio
import gc
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import LineTooLong

from registry_proxy.deliver.transfer import Extent
from swell.concurrency.drain import Drain, Running
from swell.disk import cached
from swell.errors import Unavailable
from swell.log import log
from swell.net.addresses import client_network
from swell.oci.error_codes import error_body
from swell.serve import Address

SEND_BYTES = 1 << 20  # before other requests run
STALLED_SECONDS = 60
MIN_RATE = 1 << 10  # bytes per second that a client must read on average, after STALLED_SECONDS of waiting
HEAD_SECONDS = 30  # until the end of a connection's first request headers
IDLE_SECONDS = 75  # between two requests
MAX_PATH = 64 << 10  # bytes
PER_CLIENT = 4096  # connections
LAST_SECONDS = 1.0  # for requests that the drain has not waited for

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class ClientGone(Exception):
    """The client closed the connection, reads nothing for 60 s, or reads less than 1 KiB per second."""


class BodyWriter:
    """Writes a long response body to a client that may be slow, without buffering; `sent` counts its bytes.

    All methods that send raise `ClientGone`.
    """

    def __init__(self, request: web.BaseRequest, status: int, headers: Mapping[str, str]) -> None:
        self.response = web.StreamResponse(status=status, headers=headers)
        self._request = request
        self.sent = 0
        self._waited = 0.0

    async def begin(self) -> None:
        """Send the status and the headers."""
        await self._flush(self.response.prepare(self._request))

    async def send(self, piece: bytes) -> None:
        self.sent += len(piece)
        await self._flush(self.response.write(piece))

    async def send_file(self, extent: Extent) -> None:
        """Send the bytes of *extent*, which must be written already."""
        at = extent.start
        with self._connection() as connection:
            while at < extent.stop:
                most = min(SEND_BYTES, extent.stop - at)
                await cached(extent.descriptor, at, at + most)
                try:
                    count = _sent(connection, extent.descriptor, at, most)
                    at += count
                    self.sent += count
                except BlockingIOError:
                    await self._flush(_writable(connection))
                else:
                    await asyncio.sleep(0)

    def abort(self) -> None:
        """Close the connection before `Content-Length` bytes, so that the client notices the failure."""
        if transport := self._request.transport:
            transport.abort()

    def _connection(self) -> socket.socket:
        """Duplicate the connection's socket: the event loop allows no second watcher of its own one."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        connection: socket.socket = transport.get_extra_info("socket").dup()
        return connection

    async def _flush(self, writing: Awaitable[object]) -> None:
        """Await *writing*, and then wait until the client has read everything."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await writing
                await self._request.writer.drain()
        except (TimeoutError, ConnectionError) as error:
            raise ClientGone from error
        self._waited += time.monotonic() - started
        if self.sent < (self._waited - STALLED_SECONDS) * MIN_RATE:
            raise ClientGone


def _sent(connection: socket.socket, descriptor: int, at: int, most: int) -> int:
    try:
        count = os.sendfile(connection.fileno(), descriptor, at, most)
    except (ConnectionError, TimeoutError) as error:
        raise ClientGone from error
    if not count:
        raise Unavailable("a file on this server's disk was truncated")
    return count


async def _writable(connection: socket.socket) -> None:
    loop, writable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(connection, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(connection)


class _Connection(web.RequestHandler):
    """Answers malformed requests with OCI error bodies that do not quote the request."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  it quotes the request
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the response has already started")
        if isinstance(exc, LineTooLong):
            status = 414 if exc.args[1] == MAX_PATH else 431
        reason = _REASONS.get(status, "the request is not valid HTTP")
        return _refusal(status, "UNKNOWN" if status == 500 else "UNSUPPORTED", reason)


_REASONS = {
    414: "the request path exceeds this server's limit",
    431: "the request headers exceed this server's limit",
    500: "an internal error of this server",
}


def _refusal(status: int, code: str, reason: str) -> web.Response:
    headers = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
    response = web.Response(status=status, body=error_body(code, reason), headers=headers)
    response.force_close()
    return response


class _Server(web.Server):
    """Closes idle connections, and connections beyond *limit* of one client."""

    def __init__(self, handler: Handler, limit: int) -> None:
        disabled = logging.getLogger("swell.strangers")
        disabled.disabled = True
        super().__init__(
            self._respond,
            handler_cancellation=True,
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=MAX_PATH,
            access_log=None,
            logger=disabled,
        )
        self._handler = handler
        self._limit = limit
        self._clients: dict[asyncio.Protocol, str] = {}
        self._counts: Counter[str] = Counter()
        self._timers: dict[asyncio.Protocol, asyncio.TimerHandle] = {}
        self.running = Running()

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        peer = transport.get_extra_info("peername")
        client = self._clients[handler] = client_network(peer[0] if peer else "")
        self._counts[client] += 1
        if 0 < self._limit < self._counts[client]:
            transport.abort()
            return
        transport.set_write_buffer_limits(0)  # `drain` returns only after the kernel has all bytes
        self._timers[handler] = asyncio.get_running_loop().call_later(HEAD_SECONDS, transport.abort)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._cancel_timer(handler)
        if client := self._clients.pop(handler, None):
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]
        super().connection_lost(handler, exc)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        self._cancel_timer(request.protocol)
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 and not (not hosts and request.version < HttpVersion11):
            return _refusal(400, "UNSUPPORTED", "the request must have exactly one Host header")
        with self.running.one():
            return await self._handler(request)

    def _cancel_timer(self, handler: asyncio.Protocol) -> None:
        if timer := self._timers.pop(handler, None):
            timer.cancel()


@asynccontextmanager
async def serve_blobs(
    handler: Handler,
    where: Address,
    grace: float = 10.0,
    *,
    per_client: int = PER_CLIENT,
    drain: Drain | None = None,
) -> AsyncIterator[None]:
    """Serve HTTP at *where* while the block runs; then wait at most *grace* seconds for running requests.

    With *drain*, requests are served until it ends, or until none has come for a moment: a pull is several requests.
    When a client disconnects, its *handler* is cancelled. *per_client* limits the connections of one address; 0 is no
    limit.

    Raises:
        Unavailable: the port is in use or not permitted.
    """
    server = _Server(handler, per_client)
    runner = web.ServerRunner(server, shutdown_timeout=LAST_SECONDS if drain else grace)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, where.host, where.port, backlog=1024).start()
        except OSError as error:
            raise Unavailable(f"cannot listen on {where.host}:{where.port}: {error.strerror}") from error
        gc.freeze()  # exclude objects that live until exit from garbage collection: shorter pauses
        log.info("listening", host=where.host, port=where.port)
        yield
    finally:
        if drain and drain.is_started:
            await drain.until(partial(server.running.is_quiet, drain.quiet))
        await runner.cleanup()
