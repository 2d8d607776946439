"""An HTTP server for bytes: what is on disk goes to the client inside the kernel, not through this process.

A server that is handed the bytes by Python takes four times the processor time, and memory for each slow client.
"""

import asyncio
import gc
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from registry_proxy.transfer import Extent
from swell.disk import cached
from swell.errors import Unavailable
from swell.log import log
from swell.serve import Address

AT_ONCE = 1 << 20  # bytes, before others have their turn
STALLED_SECONDS = 60
HEAD_SECONDS = 30  # for the first request of a connection
IDLE_SECONDS = 75  # between two of them
LONGEST_PATH = 64 << 10  # bytes

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class ClientGone(Exception):
    """Whoever asked has closed the connection, or takes nothing for 60 s."""


class Sending:
    """An answer with a long body for a client who may be slow: nothing piles up here.

    All that sends raises `ClientGone`.
    """

    def __init__(self, request: web.BaseRequest, status: int, headers: Mapping[str, str]) -> None:
        self.response = web.StreamResponse(status=status, headers=headers)
        self._request = request

    async def begin(self) -> None:
        """Send the head."""
        await self._taken(self.response.prepare(self._request))

    async def send(self, piece: bytes) -> None:
        await self._taken(self.response.write(piece))

    async def send_file(self, extent: Extent) -> None:
        """Send the bytes of *extent*, which must be there."""
        at = extent.start
        with self._connection() as connection:
            while at < extent.stop:
                most = min(AT_ONCE, extent.stop - at)
                await cached(extent.descriptor, at, at + most)
                try:
                    at += _sent(connection, extent.descriptor, at, most)
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
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await writing
                await self._request.writer.drain()
        except (TimeoutError, ConnectionError) as error:
            raise ClientGone from error


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


class _Server(web.Server):
    """Does not wait for ever for what strangers may say, and says nothing of what makes no sense to it."""

    def __init__(self, handler: Handler) -> None:
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
        self._patience: dict[asyncio.Protocol, asyncio.TimerHandle] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        transport.set_write_buffer_limits(0)  # what was written is on its way, or waited for
        self._patience[handler] = asyncio.get_running_loop().call_later(HEAD_SECONDS, transport.abort)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._no_longer_silent(handler)
        super().connection_lost(handler, exc)

    async def _heard(self, request: web.BaseRequest) -> web.StreamResponse:
        self._no_longer_silent(request.protocol)
        return await self._handler(request)

    def _no_longer_silent(self, handler: asyncio.Protocol) -> None:
        if timer := self._patience.pop(handler, None):
            timer.cancel()


@asynccontextmanager
async def sending(handler: Handler, where: Address, grace: float = 10.0) -> AsyncIterator[None]:
    """Answer HTTP at *where* while the block runs; leaving it gives the requests under way *grace* seconds to finish.

    A client that goes away cancels its *handler*.

    Raises:
        Unavailable: the port cannot be had.
    """
    runner = web.ServerRunner(_Server(handler), shutdown_timeout=grace)
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
