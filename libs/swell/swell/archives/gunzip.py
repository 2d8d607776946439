"""Inflate gzip files of strangers.

A file may have many members: eStargz has some for each file of a layer. Each costs time although it may be empty, so
their number has a limit. `gzip.GzipFile` needs about 30 µs for each, and has none.

Source: RFC 1952, "GZIP file format specification", 2.2 "File format", https://www.rfc-editor.org/rfc/rfc1952
"""

import io
import os
import zlib
from collections.abc import Iterator
from typing import IO

MAX_MEMBERS = 1_000_000
PIECE = 1 << 20  # bytes of a result
_SLICE = 4 << 10  # bytes; zlib copies what follows a member, so long inputs with many members take long
_FORMAT = 16 + zlib.MAX_WBITS
_READ = 256 << 10


class BadGzip(ValueError):
    """The file is not gzip, breaks off, or has too many members."""


class Gunzip:
    """Inflates a stream of gzip. With *padded*, zeros may follow a member, as gzip(1) allows."""

    def __init__(self, *, padded: bool = False) -> None:
        self._padded = padded
        self._members = 0
        self._inflate = zlib.decompressobj(_FORMAT)
        self._is_inside = False

    def inflate(self, content: bytes) -> Iterator[bytes]:
        """Yield what *content*, the next bytes of the stream, contains, in pieces of at most 1 MiB.

        Raises:
            BadGzip: it is not gzip, or the stream has more than a million members.
        """
        for start in range(0, len(content), _SLICE):
            rest = content[start : start + _SLICE]
            while rest:
                if not self._is_inside and not (rest := self._begin(rest)):
                    break
                try:
                    if piece := self._inflate.decompress(rest, PIECE):
                        yield piece
                except zlib.error as error:
                    raise BadGzip(str(error)) from error
                rest = self._inflate.unconsumed_tail or self._inflate.unused_data
                if self._inflate.eof:
                    self._is_inside = False

    def finish(self) -> Iterator[bytes]:
        """Yield what is left at the end of the stream.

        Raises:
            BadGzip: the stream breaks off.
        """
        while self._is_inside:
            piece = self._inflate.decompress(b"", PIECE)
            self._is_inside = not self._inflate.eof
            if piece:
                yield piece
            elif self._is_inside:
                raise BadGzip("it breaks off")
        if not self._members:
            raise BadGzip("it is empty")

    def _begin(self, content: bytes) -> bytes:
        """Begin a member; return *content* without the zeros before it."""
        if self._padded and self._members:
            content = content.lstrip(b"\0")
        if content:
            self._members += 1
            if self._members > MAX_MEMBERS:
                raise BadGzip(f"it has more than {MAX_MEMBERS} members")
            if self._members > 1:
                self._inflate = zlib.decompressobj(_FORMAT)
            self._is_inside = True
        return content


class _Raw(io.RawIOBase):
    """The inflated bytes of *file*, which can be read again from the start."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start()

    def _start(self) -> None:
        self._file.seek(0)
        self._pieces = _inflated(self._file)
        self._piece = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        content = self._take(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _take(self, most: int) -> memoryview:
        """The next bytes, at most *most*; none at the end."""
        self._piece = self._piece or memoryview(next(self._pieces, b""))
        content, self._piece = self._piece[:most], self._piece[most:]
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        target = offset + (self._position if whence == os.SEEK_CUR else 0)
        if whence == os.SEEK_END or target < 0:
            raise io.UnsupportedOperation
        if target < self._position:
            self._start()
        while self._position < target:
            if not self._take(target - self._position):
                break
        return self._position

    def tell(self) -> int:
        return self._position


def open_gzip(file: IO[bytes]) -> io.BufferedReader:
    """Return a reader of what the gzip *file* contains; it may seek, and raises `BadGzip`. It does not close *file*."""
    return io.BufferedReader(_Raw(file))


def _inflated(file: IO[bytes]) -> Iterator[bytes]:
    gunzip = Gunzip(padded=True)
    while content := file.read(_READ):
        yield from gunzip.inflate(content)
    yield from gunzip.finish()
