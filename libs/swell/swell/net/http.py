"""An ASGI application on a port, served by Granian inside this event loop.

Granian closes connections on which no whole head of a request comes within HEAD_SECONDS, the first one or the next, but
only if it need not first find out the version of HTTP: so HTTP/2 is off. It has no limit for the connections of one
client; those are counted here, by looking at this process's own sockets.
"""

import asyncio
import gc
import os
import resource
import socket
import stat
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, NamedTuple

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from swell.errors import Unavailable
from swell.log import log
from swell.serve import Address

BEGIN_WITHIN = (
    20.0  # seconds; the threads of the server are started meanwhile, perhaps with all of a machine's services
)


HEAD_SECONDS = 30.0
STALLED_SECONDS = 60.0  # how long the kernel holds bytes for a client that takes none of them
CONNECTIONS = 16_384  # at once; those that wait for a build or watch a log count as well
OTHER_FILES = 1024  # what this process opens beside them
COUNT_EVERY = 1.0  # seconds


class ConnectionLimit(NamedTuple):
    """A *client*, as found from the address of a connection, may have *most* connections; None as a client is exempt.

    0 is no limit.
    """

    most: int
    client: Callable[[str], str | None]


@asynccontextmanager
async def listening(
    app: Any, where: Address, grace: float = 10.0, *, limit: ConnectionLimit | None = None
) -> AsyncIterator[None]:
    """Answer HTTP at *where* while the block runs; leaving it gives the requests under way *grace* seconds to finish.

    Raises:
        Unavailable: the port cannot be had.
    """
    _must_be_free(where)
    server = Server(
        app,
        address=where.host,
        port=where.port,
        interface=Interfaces.ASGINL,
        backlog=1024,
        backpressure=_connections(),
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=int(HEAD_SECONDS * 1000)),
        websockets=False,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    try:
        await _accepts(where, serving)
        _close_stalled(where.port)
        gc.freeze()  # what is there now stays: collecting need not look at it again, and pauses get short
        log.info("listening", host=where.host, port=where.port)
        counting = asyncio.create_task(_keep_to(limit, where.port)) if limit and limit.most else None
        try:
            yield
        finally:
            if counting:
                counting.cancel()
    finally:
        if not serving.done():
            server.stop()  # type: ignore[no-untyped-call]
        ended, _ = await asyncio.wait([serving], timeout=grace)
        if not ended:
            log.warning("requests were not finished", seconds=grace)
            serving.cancel()


def _must_be_free(where: Address) -> None:
    """Granian alone would share the port with another process (SO_REUSEPORT): each would get half of the requests."""
    with socket.socket(socket.AF_INET6 if ":" in where.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise Unavailable(f"cannot listen on {where.host}:{where.port}: {error.strerror}") from error


async def _accepts(where: Address, serving: "asyncio.Task[None]") -> None:
    give_up = monotonic() + BEGIN_WITHIN
    while monotonic() < give_up:
        if serving.done():
            raise Unavailable(f"cannot listen on {where.host}:{where.port}: {serving.exception()}")
        try:
            _, writer = await asyncio.open_connection(*where)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
    raise Unavailable(f"nothing accepts on {where.host}:{where.port} after {BEGIN_WITHIN:.0f} s")


def _connections() -> int:
    """How many connections may be open at once: CONNECTIONS, or what the limit of open files leaves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + OTHER_FILES
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(soft - OTHER_FILES, soft // 2) if soft < wanted else CONNECTIONS


def _close_stalled(port: int) -> None:
    """Have the kernel close connections to *port* whose client takes nothing; they inherit this from what listens.

    Source: tcp(7), TCP_USER_TIMEOUT.
    """
    for number in _sockets():
        with suppress(OSError), _duplicate(number) as each:
            if _is_at(each, port) and each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_SECONDS * 1000))


async def _keep_to(limit: ConnectionLimit, port: int) -> None:
    """Close the connections to *port* that a client has beyond *limit*, the newest ones, for ever."""
    while True:
        await asyncio.sleep(COUNT_EVERY)
        with suppress(OSError):  # no file can be opened just now: the next look may succeed
            if len(os.listdir("/proc/self/fd")) > limit.most:  # noqa: PTH208  names alone, a thousand in 0.3 ms
                await asyncio.to_thread(_close_excess, limit, port)


def _close_excess(limit: ConnectionLimit, port: int) -> None:
    by_client = defaultdict[str, list[_Accepted]](list)
    for each in _accepted(port):
        if (client := limit.client(each.peer)) is not None:
            by_client[client].append(each)
    for client, connections in by_client.items():
        for each in sorted(connections)[limit.most :]:
            with suppress(OSError), _duplicate(each.number) as connection:
                if os.fstat(connection.fileno()).st_ino == each.inode:
                    connection.shutdown(socket.SHUT_RDWR)
        if (excess := len(connections) - limit.most) > 0:
            log.warning("connections of one client closed", client=client, count=excess)


class _Accepted(NamedTuple):
    """A connection to this process: its inode, which grows, its descriptor's number and its peer's address."""

    inode: int
    number: int
    peer: str


def _accepted(port: int) -> list[_Accepted]:
    """This process's connections to its own *port*."""
    found = []
    for number in _sockets():
        with suppress(OSError), _duplicate(number) as each:  # closed meanwhile, or the socket that listens
            if _is_at(each, port):
                peer = str(each.getpeername()[0])
                found.append(_Accepted(os.fstat(each.fileno()).st_ino, number, peer))
    return found


def _sockets() -> list[int]:
    """The numbers of this process's descriptors that are sockets."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):  # closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.append(int(name))
    return found


def _duplicate(number: int) -> socket.socket:
    """The socket *number* under a number of its own: the old one may be another file's meanwhile."""
    duplicate = os.dup(number)
    try:
        return socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise


def _is_at(each: socket.socket, port: int) -> bool:
    return each.family in {socket.AF_INET, socket.AF_INET6} and each.getsockname()[1] == port
