"""The registry-proxy's data port, read by us instead of by the clients.

It is read by hand: bytes go from the socket into one buffer of the answer's own, so a big piece is copied once and a
slow client costs one buffer. A general client gathers such a piece from many small ones, at more than the time and
twice the memory.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http.client import HTTPException, parse_headers
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from yarl import URL

from gateway.handlers.relay import Part
from swell.disk import pieces_at
from swell.errors import Unavailable

BUFFER = 512 << 10  # bytes
HEAD_END = b"\r\n\r\n"
CONNECT_SECONDS = 5
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
    async def open(self, method: str, url: str, headers: Mapping[str, str]) -> AsyncIterator[Part]:
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
    async def _asked(self, method: str, url: str, headers: Mapping[str, str]) -> AsyncIterator[Part]:
        target = URL(url, encoded=True)
        stream = await self._connect(target)
        try:
            stream.write(_request(method, target, headers))
            head = await _head(stream)
            length = 0 if method == "HEAD" or head.status in BODILESS else _length(head)
            yield Part(head.status, head.fields, _pieces(stream, length))
        finally:
            stream.close()

    async def _connect(self, target: URL) -> "_Stream":
        tls = self._tls if target.scheme == "https" else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                loop = asyncio.get_running_loop()
                _, stream = await loop.create_connection(_Stream, str(target.host), target.port or 0, ssl=tls)
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"the data port does not answer: {error or 'no connection in time'}") from error
        return stream


class _Stream(asyncio.BufferedProtocol):
    """A connection whose bytes wait in one buffer; while it is full, nothing more is read."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(BUFFER))
        self._filled = 0
        self._is_paused = False
        self._has_ended = False
        self._transport: asyncio.Transport | None = None
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio says less than it gives

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's signature
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled == BUFFER and self._transport:
            self._transport.pause_reading()
            self._is_paused = True
        self._news.set()

    def eof_received(self) -> None:
        self._has_ended = True
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._has_ended = True
        self._news.set()

    def write(self, request: bytes) -> None:
        if self._transport:
            self._transport.write(request)

    def close(self) -> None:
        if self._transport:
            self._transport.abort()

    def peek(self) -> bytes:
        return bytes(self._buffer[: self._filled])

    def take(self, count: int) -> bytes:
        """The next bytes, at most *count*; makes room for as many."""
        count = min(count, self._filled)
        taken = bytes(self._buffer[:count])
        self._buffer[: self._filled - count] = self._buffer[count : self._filled]
        self._filled -= count
        if self._is_paused and count and self._transport:
            self._is_paused = False
            self._transport.resume_reading()
        return taken

    async def wait(self, count: int) -> None:
        """Wait until *count* bytes are here, at most as many as the buffer holds.

        Raises:
            Unavailable: fewer will come, or nothing comes for 90 s.
        """
        while self._filled < count:
            if self._has_ended:
                raise Unavailable("the data port broke off its answer")
            self._news.clear()
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._news.wait()
            except TimeoutError as error:
                raise Unavailable("the data port fell silent") from error


class _Head(NamedTuple):
    status: int
    fields: Mapping[str, str]


def _request(method: str, target: URL, headers: Mapping[str, str]) -> bytes:
    fields = {"Host": target.authority, "Accept-Encoding": "identity", "Connection": "close", **headers}
    lines = [f"{method} {target.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _head(stream: _Stream) -> _Head:
    """Read the status line and the fields.

    Source: RFC 9112, sections 4 and 5.
    """
    known = 0
    while (end := stream.peek().find(HEAD_END)) < 0:
        known = len(stream.peek())
        await stream.wait(known + 1)
    version, _, rest = stream.take(end + len(HEAD_END)).partition(b" ")
    line, _, fields = rest.partition(b"\r\n")
    try:
        told = parse_headers(BytesIO(fields))
        return _Head(int(line[:3]), {name.lower(): value for name, value in told.items()})
    except (ValueError, HTTPException) as error:
        raise Unavailable(f"the data port does not speak HTTP: {version[:20]!r}") from error


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


def _read(part: Part, descriptor: int) -> Part:
    """*part* with the bytes that it speaks of."""
    start, _, stop = part.headers["x-sendfile-span"].partition("-")
    length = str(int(stop) - int(start))
    return Part(part.status, {**part.headers, "content-length": length}, pieces_at(descriptor, int(start), int(stop)))


async def _pieces(stream: _Stream, length: int) -> AsyncIterator[bytes]:
    """The body, at first as it comes, soon in pieces of half a MiB."""
    enough = 1
    while length:
        await stream.wait(min(enough, length))
        piece = stream.take(min(BUFFER, length))
        length -= len(piece)
        enough = min(2 * len(piece), BUFFER)
        yield piece
