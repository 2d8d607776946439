"""Client of the registry-proxy's data port, for relaying blobs.

It uses sockets directly: the kernel buffers bytes until a large piece is complete, which is then copied once. A general
HTTP client joins such a piece from many small ones, which takes more time and twice the memory.

Source: RFC 9112, 4 "Status Line" and 5 "Field Syntax", https://www.rfc-editor.org/rfc/rfc9112#section-4
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
from swell.log import warn_once_a_second

SMALL_PIECE = 256 << 10  # bytes in the first pieces; a slow client keeps a few of them in memory
PIECE = 2 << 20  # bytes in later pieces; each piece, of any size, costs some time
MAX_HEAD = 64 << 10  # bytes
HEAD_END = b"\r\n\r\n"
CONNECT_SECONDS = 5
NEXT_ADDRESS_SECONDS = 0.25  # then the next address of the host is tried as well
GATHER_SECONDS = 0.1  # then a piece is used as it is, even if it is not full
SILENCE_SECONDS = 90  # longer than the data port waits for a registry
BODILESS = frozenset({204, 304})


class RemoteDataPort:
    """Sends each request on its own connection; after a broken connection the client may resume.

    If the *spool* of the data port is on a shared disk, the data port returns the name of the file instead of its
    bytes, and the file is read here.
    """

    def __init__(self, spool: Path | None = None) -> None:
        self._tls = ssl.create_default_context()
        self._spool = spool

    @asynccontextmanager
    async def open(self, method: str, url: str, headers: Mapping[str, str]) -> AsyncIterator[DataPortResponse]:
        if self._spool:
            async with self._request(method, url, {**headers, "X-Sendfile": "spool"}) as response:
                if "x-sendfile" not in response.headers:
                    yield response
                    return
            if (descriptor := _open_file(self._spool / response.headers["x-sendfile"])) is not None:
                try:
                    yield _from_file(response, descriptor)
                finally:
                    os.close(descriptor)
                return
        async with self._request(method, url, headers) as response:
            yield response

    @asynccontextmanager
    async def _request(self, method: str, url: str, headers: Mapping[str, str]) -> AsyncIterator[DataPortResponse]:
        target = URL(url, encoded=True)
        stream = await self._connect(target)
        try:
            await _send(stream, _head_of(method, target, headers))
            head, start = await _read_head(stream)
            length = 0 if method == "HEAD" or head.status in BODILESS else _length(head)
            yield DataPortResponse(head.status, head.fields, _pieces(stream, start[:length], length))
        finally:
            stream.close()

    async def _connect(self, target: URL) -> "_Stream":
        host, loop = str(target.host), asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                addresses = await loop.getaddrinfo(host, target.port or 0, type=socket.SOCK_STREAM)
                connection = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS)
                if target.scheme != "https":
                    return _PlainStream(connection)
                return _TlsStream(*await asyncio.open_connection(sock=connection, ssl=self._tls, server_hostname=host))
        except (OSError, TimeoutError) as error:
            warn_once_a_second("data port failed", error=str(error) or "no connection in time")
            raise Unavailable("the data port does not answer") from error


class _Stream(Protocol):
    """A connection to the data port; its methods raise OSError when the connection breaks."""

    async def write(self, request: bytes) -> None: ...

    async def read(self, enough: int, most: int) -> bytes:
        """The next 1 to *most* bytes, or none at the end; waits up to 0.1 s for *enough* bytes."""

    def close(self) -> None: ...


class _PlainStream:
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
        """Report the connection as readable when *count* bytes have arrived, or the last ones."""
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


class _TlsStream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def write(self, request: bytes) -> None:
        self._writer.write(request)
        await self._writer.drain()

    async def read(self, enough: int, most: int) -> bytes:  # noqa: ARG002  TLS records have at most 16 KiB
        return await self._reader.read(most)

    def close(self) -> None:
        self._writer.transport.abort()


class _Head(NamedTuple):
    status: int
    fields: Mapping[str, str]


def _head_of(method: str, target: URL, headers: Mapping[str, str]) -> bytes:
    fields = {"Host": target.authority, "Accept-Encoding": "identity", "Connection": "close", **headers}
    lines = [f"{method} {target.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _send(stream: _Stream, request: bytes) -> None:
    try:
        await stream.write(request)
    except OSError as error:
        raise Unavailable("the data port closed the connection") from error


async def _read_head(stream: _Stream) -> tuple[_Head, bytes]:
    """Read the status line and the header fields; also returns the bytes of the body that came with them."""
    read, end = b"", -1
    while end < 0:
        if len(read) > MAX_HEAD:
            raise Unavailable("the data port does not speak HTTP: its response has no head")
        read += await _more(stream, 1, MAX_HEAD)
        end = read.find(HEAD_END)
    version, _, rest = read[: end + len(HEAD_END)].partition(b" ")
    line, _, fields = rest.partition(b"\r\n")
    try:
        headers = parse_headers(BytesIO(fields))
        head = _Head(int(line[:3]), {name.lower(): value for name, value in headers.items()})
    except (ValueError, HTTPException) as error:
        raise Unavailable(f"the data port does not speak HTTP: {version[:20]!r}") from error
    return head, read[end + len(HEAD_END) :]


def _length(head: _Head) -> int:
    length = head.fields.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        raise Unavailable("the data port sends no valid Content-Length")
    return int(length)


def _open_file(path: Path) -> int | None:
    """A descriptor of the file at *path*; None if it was evicted, or is not readable for this process."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _from_file(response: DataPortResponse, descriptor: int) -> DataPortResponse:
    """*response* with the bytes of the file that it names."""
    start, _, stop = response.headers["x-sendfile-span"].partition("-")
    length = str(int(stop) - int(start))
    return DataPortResponse(
        response.status, {**response.headers, "content-length": length}, pieces_at(descriptor, int(start), int(stop))
    )


async def _pieces(stream: _Stream, start: bytes, length: int) -> AsyncIterator[bytes]:
    """The body of *length* bytes, whose *start* was read already; the pieces grow with the bytes that were sent."""
    passed, enough, piece = 0, 1, start
    while passed < length:
        most = min(max(SMALL_PIECE, passed // 32), PIECE, length - passed)
        piece = piece or await _more(stream, min(enough, most), most)
        passed += len(piece)
        enough = 2 * len(piece)
        yield piece
        piece = b""


async def _more(stream: _Stream, enough: int, most: int) -> bytes:
    """Read at least one byte.

    Raises:
        Unavailable: the data port closes the connection, or sends nothing for 90 s.
    """
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            piece = await stream.read(enough, most)
    except TimeoutError as error:
        raise Unavailable(f"the data port sent nothing for {SILENCE_SECONDS} s") from error
    except OSError as error:
        raise Unavailable("the data port broke off its response") from error
    if not piece:
        raise Unavailable("the data port broke off its response")
    return piece
