"""Serve an ASGI application over HTTP/1.1 with Granian, in this event loop.

Granian closes a connection that sends no complete request head within HEAD_SECONDS. It does so only when the version of
HTTP is fixed, so HTTP/2 is off. It does not limit the connections of one client; this module counts them in /proc.
"""

import asyncio
import gc
import os
import resource
import socket
import stat
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Any, NamedTuple

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from swell.concurrency.drain import Drain
from swell.concurrency.periodic import running_every
from swell.errors import Unavailable
from swell.log import log
from swell.serve import Address

START_SECONDS = 20.0  # the server starts its threads, perhaps at the same time as all services of the machine
HEAD_SECONDS = 30.0
STALLED_SECONDS = 60.0  # how long the kernel buffers bytes for a client that reads none
CONNECTIONS = 16_384  # at once, including those that wait for a build or follow a log
OTHER_FILES = 1024  # open files besides connections
LAST_SECONDS = 1.0  # for the end of streams that were closed at the end of a drain
CHECK_EVERY = timedelta(seconds=1)
COLLECTED_AFTER = 5_000, 20, 20
"""New objects before a garbage collection, collections of them before one of older objects, and so on.

Python's 700 new objects are those of a few requests in progress, which each collection would look at in vain.
Source: https://docs.python.org/3/library/gc.html#gc.set_threshold
"""


class ConnectionLimit(NamedTuple):
    """Each client may have *most* connections; 0 means no limit.

    `client(address)` returns the client of a remote address; None means no limit for that address.
    """

    most: int
    client: Callable[[str], str | None]


@asynccontextmanager
async def listening(
    app: Any,
    where: Address,
    grace: float = 10.0,
    *,
    limit: ConnectionLimit | None = None,
    websockets: bool = False,
    drain: Drain | None = None,
    shared: bool = False,
) -> AsyncIterator[None]:
    """Serve *app* at *where* while the block runs; at the end, running requests have *grace* seconds to finish.

    With *drain*, which the caller has waited for, they have what is left of it, and one second at least.

    The port may be *shared* with other processes of the service; the kernel spreads connections over them.

    With *websockets*, the app gets WebSockets too; a message of one has at most 64 MiB.

    Raises:
        Unavailable: the port is in use or not allowed.
    """
    if not shared:
        check_free(where)
    server = Server(
        app,
        address=where.host,
        port=where.port,
        interface=Interfaces.ASGINL,
        backlog=1024,
        backpressure=_connections(),
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=int(HEAD_SECONDS * 1000)),
        websockets=websockets,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())  # no group: at the end it has *grace* before it is cancelled
    try:
        await _accepts(where, serving)
        _close_stalled(where.port)
        gc.set_threshold(*COLLECTED_AFTER)
        gc.freeze()  # later collections skip the objects that exist now, so their pauses are short
        log.info("listening", host=where.host, port=where.port)
        async with AsyncExitStack() as background:
            if limit and limit.most:
                check = _ConnectionCheck(limit, where.port).close_excess
                await background.enter_async_context(
                    running_every(CHECK_EVERY, check, event="connections not counted", first=False)
                )
            yield
    finally:
        if not serving.done():
            server.stop()  # type: ignore[no-untyped-call]
        grace = max(drain.seconds, LAST_SECONDS) if drain and drain.is_started else grace
        ended, _ = await asyncio.wait([serving], timeout=grace)
        if not ended:
            log.warning("requests were not finished", seconds=grace)
            serving.cancel()


def check_free(where: Address) -> None:
    """Check that no process uses the port: with Granian's SO_REUSEPORT, two processes would share its requests."""
    with socket.socket(socket.AF_INET6 if ":" in where.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise Unavailable(f"cannot listen on {where.host}:{where.port}: {error.strerror}") from error


async def _accepts(where: Address, serving: "asyncio.Task[None]") -> None:
    """Wait until this process listens; a connection could be accepted by another one that shares the port."""
    deadline = monotonic() + START_SECONDS
    while monotonic() < deadline:
        if serving.done():
            raise Unavailable(f"cannot listen on {where.host}:{where.port}: {serving.exception()}")
        if _listeners(where.port):
            return
        await asyncio.sleep(0.01)
    raise Unavailable(f"nothing accepts on {where.host}:{where.port} after {START_SECONDS:.0f} s")


def _listeners(port: int) -> list[int]:
    """Return the sockets of this process that listen on *port*."""
    listeners = []
    for number in _sockets():
        with suppress(OSError), _duplicate(number) as connection:
            if _is_at(connection, port) and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listeners.append(number)
    return listeners


def _connections() -> int:
    """Return the limit of open connections: CONNECTIONS, or fewer when the limit of open files is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CONNECTIONS + OTHER_FILES
    if soft < needed:
        soft = min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(soft - OTHER_FILES, soft // 2) if soft < needed else CONNECTIONS


def _close_stalled(port: int) -> None:
    """Configure the kernel to close connections to *port* whose client reads nothing; sockets inherit the option.

    Source: tcp(7), TCP_USER_TIMEOUT, https://man7.org/linux/man-pages/man7/tcp.7.html
    """
    for number in _listeners(port):
        with suppress(OSError), _duplicate(number) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_SECONDS * 1000))


class _ConnectionCheck:
    """Closes the newest connections to *port* of each client that has more than *limit*.

    Those that an earlier check has seen are older. Inodes give the order of the others roughly: each CPU has its own
    block of numbers.
    """

    def __init__(self, limit: ConnectionLimit, port: int) -> None:
        self._limit = limit
        self._port = port
        self._checks = 0
        self._first_seen: dict[int, int] = {}
        """By inode, the check that has seen the connection first."""

    async def close_excess(self) -> None:
        with suppress(OSError):  # too many open files: the next check may succeed
            if len(os.listdir("/proc/self/fd")) > self._limit.most:  # noqa: PTH208  names only, a thousand in 0.3 ms
                await asyncio.to_thread(self._close_excess)

    def _close_excess(self) -> None:
        self._checks += 1
        accepted = _accepted(self._port)
        self._first_seen = {each.inode: self._first_seen.get(each.inode, self._checks) for each in accepted}
        by_client = defaultdict[str, list[_Accepted]](list)
        for each in accepted:
            if (client := self._limit.client(each.peer)) is not None:
                by_client[client].append(each)
        for client, connections in by_client.items():
            excess = sorted(connections, key=self._age)[self._limit.most :]
            for each in excess:
                with suppress(OSError), _duplicate(each.number) as connection:
                    if os.fstat(connection.fileno()).st_ino == each.inode:
                        connection.shutdown(socket.SHUT_RDWR)
            if excess:
                log.warning("connections of one client closed", client=client, count=len(excess))

    def _age(self, connection: "_Accepted") -> tuple[int, int]:
        return self._first_seen[connection.inode], connection.inode


class _Accepted(NamedTuple):
    """A connection to this process: its inode, its file descriptor and its remote address."""

    inode: int
    number: int
    peer: str


def _accepted(port: int) -> list[_Accepted]:
    """Return the connections of this process on its *port*."""
    connections = []
    for number in _sockets():
        with suppress(OSError), _duplicate(number) as connection:  # closed in the meantime, or the listening socket
            if _is_at(connection, port):
                peer = str(connection.getpeername()[0])
                connections.append(_Accepted(os.fstat(connection.fileno()).st_ino, number, peer))
    return connections


def _sockets() -> list[int]:
    """Return the file descriptors of this process that are sockets."""
    numbers = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):  # closed in the meantime
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                numbers.append(int(name))
    return numbers


def _duplicate(number: int) -> socket.socket:
    """Duplicate the file descriptor *number*, which may be closed and reused at any time."""
    duplicate = os.dup(number)
    try:
        return socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise


def _is_at(connection: socket.socket, port: int) -> bool:
    return connection.family in {socket.AF_INET, socket.AF_INET6} and connection.getsockname()[1] == port
