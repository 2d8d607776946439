"""An HTTP server for bytes: what is on disk goes to the client inside the kernel, not through this process.

A server that is handed the bytes by Python takes four times the processor time, and memory for each slow client.
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

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import LineTooLong

from registry_proxy.deliver.transfer import Extent
from swell.disk import cached
from swell.errors import Unavailable
from swell.log import log
from swell.net.addresses import client_network
from swell.oci.error_codes import error_body
from swell.serve import Address

AT_ONCE = 1 << 20  # bytes, before others have their turn
STALLED_SECONDS = 60
SLOWEST = 1 << 10  # bytes a second that a client takes on average, beyond its first STALLED_SECONDS of waiting
HEAD_SECONDS = 30  # for the first request of a connection
IDLE_SECONDS = 75  # between two of them
LONGEST_PATH = 64 << 10  # bytes
PER_CLIENT = 4096  # connections

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class ClientGone(Exception):
    """The client has closed the connection, takes nothing for 60 s, or takes less than 1 KiB a second."""


class BodyWriter:
    """An answer with a long body for a client who may be slow: nothing piles up here.

    All that sends raises `ClientGone`.
    """

    def __init__(self, request: web.BaseRequest, status: int, headers: Mapping[str, str]) -> None:
        self.response = web.StreamResponse(status=status, headers=headers)
        self._request = request
        self._sent = 0
        self._waited = 0.0

    async def begin(self) -> None:
        """Send the head."""
        await self._taken(self.response.prepare(self._request))

    async def send(self, piece: bytes) -> None:
        self._sent += len(piece)
        await self._taken(self.response.write(piece))

    async def send_file(self, extent: Extent) -> None:
        """Send the bytes of *extent*, which must be there."""
        at = extent.start
        with self._connection() as connection:
            while at < extent.stop:
                most = min(AT_ONCE, extent.stop - at)
                await cached(extent.descriptor, at, at + most)
                try:
                    count = _sent(connection, extent.descriptor, at, most)
                    at += count
                    self._sent += count
                except BlockingIOError:
                    await self._taken(_writable(connection))
                else:
                    await asyncio.sleep(0)

    def cut(self) -> None:
        """End the answer short of its `Content-Length`: so a failure is seen as one."""
        if transport := self._request.transport:
            transport.abort()

    def _connection(self) -> socket.socket:
        """Another handle of the connection: the loop lets nobody wait for the one that it watches itself."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        connection: socket.socket = transport.get_extra_info("socket").dup()
        return connection

    async def _taken(self, writing: Awaitable[object]) -> None:
        """Wait for *writing* and until the client has taken all that was written before."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await writing
                await self._request.writer.drain()
        except (TimeoutError, ConnectionError) as error:
            raise ClientGone from error
        self._waited += time.monotonic() - started
        if self._sent < (self._waited - STALLED_SECONDS) * SLOWEST:
            raise ClientGone


def _sent(connection: socket.socket, descriptor: int, at: int, most: int) -> int:
    try:
        count = os.sendfile(connection.fileno(), descriptor, at, most)
    except (ConnectionError, TimeoutError) as error:
        raise ClientGone from error
    if not count:
        raise Unavailable("a file of this server's disk has become shorter")
    return count


async def _writable(connection: socket.socket) -> None:
    loop, writable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(connection, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(connection)


class _Connection(web.RequestHandler):
    """Answers a request that cannot be read in the words of registries, and repeats nothing of it."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  it quotes the request
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if isinstance(exc, LineTooLong):
            status = 414 if exc.args[1] == LONGEST_PATH else 431
        reason = _REASONS.get(status, "the request is not HTTP as this server reads it")
        return _refused(status, "UNKNOWN" if status == 500 else "UNSUPPORTED", reason)


_REASONS = {
    414: "the path of the request is longer than this server takes",
    431: "the header fields of the request are larger than this server takes",
    500: "Something went wrong on our side.",
}


def _refused(status: int, code: str, reason: str) -> web.Response:
    headers = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
    response = web.Response(status=status, body=error_body(code, reason), headers=headers)
    response.force_close()
    return response


class _Server(web.Server):
    """Closes connections that stay silent, and those beyond *most* of one client."""

    def __init__(self, handler: Handler, most: int) -> None:
        quiet = logging.getLogger("swell.strangers")
        quiet.disabled = True
        super().__init__(
            self._heard,
            handler_cancellation=True,
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=LONGEST_PATH,
            access_log=None,
            logger=quiet,
        )
        self._handler = handler
        self._most = most
        self._clients: dict[asyncio.Protocol, str] = {}
        self._counts: Counter[str] = Counter()
        self._patience: dict[asyncio.Protocol, asyncio.TimerHandle] = {}

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        peer = transport.get_extra_info("peername")
        client = self._clients[handler] = client_network(peer[0] if peer else "")
        self._counts[client] += 1
        if 0 < self._most < self._counts[client]:
            transport.abort()
            return
        transport.set_write_buffer_limits(0)  # what was written is on its way, or waited for
        self._patience[handler] = asyncio.get_running_loop().call_later(HEAD_SECONDS, transport.abort)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._no_longer_silent(handler)
        if client := self._clients.pop(handler, None):
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]
        super().connection_lost(handler, exc)

    async def _heard(self, request: web.BaseRequest) -> web.StreamResponse:
        self._no_longer_silent(request.protocol)
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 and not (not hosts and request.version < HttpVersion11):
            return _refused(400, "UNSUPPORTED", "the request needs one Host header")
        return await self._handler(request)

    def _no_longer_silent(self, handler: asyncio.Protocol) -> None:
        if timer := self._patience.pop(handler, None):
            timer.cancel()


@asynccontextmanager
async def serve_blobs(
    handler: Handler, where: Address, grace: float = 10.0, *, per_client: int = PER_CLIENT
) -> AsyncIterator[None]:
    """Answer HTTP at *where* while the block runs; leaving it gives the requests under way *grace* seconds to finish.

    A client that disconnects cancels its *handler*. An address may have *per_client* connections, 0 for any number.

    Raises:
        Unavailable: the port cannot be had.
    """
    runner = web.ServerRunner(_Server(handler, per_client), shutdown_timeout=grace)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, where.host, where.port, backlog=1024).start()
        except OSError as error:
            raise Unavailable(f"cannot listen on {where.host}:{where.port}: {error.strerror}") from error
        gc.freeze()  # what is there now stays: collecting need not look at it again, and pauses get short
        log.info("listening", host=where.host, port=where.port)
        yield
    finally:
        await runner.cleanup()
