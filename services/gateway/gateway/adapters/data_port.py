"""The registry-proxy's data port, read by us instead of by the clients.

It is read by hand: the kernel gathers bytes until a big piece of them is there, which is then copied once. A general
client gathers such a piece from many small ones, at more than the time and twice the memory.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from http.client import HTTPException, parse_headers
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

from aiohappyeyeballs import start_connection
from yarl import URL

from gateway.http.relay import DataPortResponse
from swell.disk import pieces_at
from swell.errors import Unavailable

FEW = 256 << 10  # bytes in a piece at first: a slow client costs some of them
PIECE = 2 << 20  # bytes in one for a client that has taken many already: each costs time, however big it is
HEAD_BYTES = 64 << 10
HEAD_END = b"\r\n\r\n"
CONNECT_SECONDS = 5
NEXT_ADDRESS_SECONDS = 0.25  # after which another of the host's addresses is tried as well
GATHER_SECONDS = 0.1  # a piece that has not filled by then goes on as it is
SILENCE_SECONDS = 90  # more than the data port waits for a registry
BODILESS = frozenset({204, 304})


class RemoteDataPort:
    """Asks once, on a connection of its own; what breaks off is the client's to resume.

    Where the data port's *spool* is on a disk that we share, it says which file to read instead of sending that.
    """

    def __init__(self, spool: Path | None = None) -> None:
        self._tls = ssl.create_default_context()
        self._spool = spool

    @asynccontextmanager
    async def open(self, method: str, url: str, headers: Mapping[str, str]) -> AsyncIterator[DataPortResponse]:
        if self._spool:
            async with self._asked(method, url, {**headers, "X-Sendfile": "spool"}) as part:
                if "x-sendfile" not in part.headers:
                    yield part
                    return
            if (descriptor := _opened(self._spool / part.headers["x-sendfile"])) is not None:
                try:
                    yield _read(part, descriptor)
                finally:
                    os.close(descriptor)
                return
        async with self._asked(method, url, headers) as part:
            yield part

    @asynccontextmanager
    async def _asked(self, method: str, url: str, headers: Mapping[str, str]) -> AsyncIterator[DataPortResponse]:
        target = URL(url, encoded=True)
        stream = await self._connect(target)
        try:
            await _send(stream, _request(method, target, headers))
            head, begun = await _head(stream)
            length = 0 if method == "HEAD" or head.status in BODILESS else _length(head)
            yield DataPortResponse(head.status, head.fields, _pieces(stream, begun[:length], length))
        finally:
            stream.close()

    async def _connect(self, target: URL) -> "_Stream":
        host, loop = str(target.host), asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = await loop.getaddrinfo(host, target.port or 0, type=socket.SOCK_STREAM)
                connection = await start_connection(found, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS)
                if target.scheme != "https":
                    return _Plain(connection)
                return _Secured(*await asyncio.open_connection(sock=connection, ssl=self._tls, server_hostname=host))
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"the data port does not answer: {error or 'no connection in time'}") from error


class _Stream(Protocol):
    """A connection to the data port; its methods raise OSError when it breaks."""

    async def write(self, request: bytes) -> None: ...

    async def read(self, enough: int, most: int) -> bytes:
        """The next bytes, at most *most*: waits a moment for *enough* of them, and as long as it takes for one.

        Empty at the end.
        """

    def close(self) -> None: ...


class _Plain:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    async def write(self, request: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._connection, request)

    async def read(self, enough: int, most: int) -> bytes:
        if enough > 1:
            self._wake_at(enough)
            with suppress(TimeoutError, BlockingIOError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._readable()
                    return self._connection.recv(most)
            self._wake_at(1)
        return await asyncio.get_running_loop().sock_recv(self._connection, most)

    def _wake_at(self, count: int) -> None:
        """Let the connection count as readable when *count* bytes are here, or all that will come."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    async def _readable(self) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._connection, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._connection)

    def close(self) -> None:
        self._connection.close()


class _Secured:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def write(self, request: bytes) -> None:
        self._writer.write(request)
        await self._writer.drain()

    async def read(self, enough: int, most: int) -> bytes:  # noqa: ARG002  what comes is in records of 16 KiB
        return await self._reader.read(most)

    def close(self) -> None:
        self._writer.transport.abort()


class _Head(NamedTuple):
    status: int
    fields: Mapping[str, str]


def _request(method: str, target: URL, headers: Mapping[str, str]) -> bytes:
    fields = {"Host": target.authority, "Accept-Encoding": "identity", "Connection": "close", **headers}
    lines = [f"{method} {target.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _send(stream: _Stream, request: bytes) -> None:
    try:
        await stream.write(request)
    except OSError as error:
        raise Unavailable("the data port hung up") from error


async def _head(stream: _Stream) -> tuple[_Head, bytes]:
    """Read the status line and the fields; what has come behind them is answered as well.

    Source: RFC 9112, sections 4 and 5.
    """
    read, end = b"", -1
    while end < 0:
        if len(read) > HEAD_BYTES:
            raise Unavailable("the data port does not speak HTTP: its answer does not begin")
        read += await _more(stream, 1, HEAD_BYTES)
        end = read.find(HEAD_END)
    version, _, rest = read[: end + len(HEAD_END)].partition(b" ")
    line, _, fields = rest.partition(b"\r\n")
    try:
        told = parse_headers(BytesIO(fields))
        head = _Head(int(line[:3]), {name.lower(): value for name, value in told.items()})
    except (ValueError, HTTPException) as error:
        raise Unavailable(f"the data port does not speak HTTP: {version[:20]!r}") from error
    return head, read[end + len(HEAD_END) :]


def _length(head: _Head) -> int:
    told = head.fields.get("content-length", "")
    if not told.isascii() or not told.isdigit():
        raise Unavailable("the data port does not say how much it sends")
    return int(told)


def _opened(path: Path) -> int | None:
    """A descriptor of the file at *path*; None when its room was needed meanwhile, or it is not ours to read."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _read(part: DataPortResponse, descriptor: int) -> DataPortResponse:
    """*part* with the bytes that it speaks of."""
    start, _, stop = part.headers["x-sendfile-span"].partition("-")
    length = str(int(stop) - int(start))
    return DataPortResponse(
        part.status, {**part.headers, "content-length": length}, pieces_at(descriptor, int(start), int(stop))
    )


async def _pieces(stream: _Stream, begun: bytes, length: int) -> AsyncIterator[bytes]:
    """The body, which has *begun* already: at first as it comes, then in pieces that grow with what a client takes."""
    passed, enough, piece = 0, 1, begun
    while passed < length:
        most = min(max(FEW, passed // 32), PIECE, length - passed)
        piece = piece or await _more(stream, min(enough, most), most)
        passed += len(piece)
        enough = 2 * len(piece)
        yield piece
        piece = b""


async def _more(stream: _Stream, enough: int, most: int) -> bytes:
    """At least one byte.

    Raises:
        Unavailable: the data port has ended its answer, or says nothing for 90 s.
    """
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            piece = await stream.read(enough, most)
    except TimeoutError as error:
        raise Unavailable("the data port fell silent") from error
    except OSError as error:
        raise Unavailable("the data port broke off its answer") from error
    if not piece:
        raise Unavailable("the data port broke off its answer")
    return piece
