"""Read tar archives of strangers, without unpacking them.

`tarfile` reads a header of any declared size, follows headers of headers, and builds lists of what they say: a megabyte
of gzip can become 30 GB of memory. It also stores every member that it has read. It searches pax headers with regular
expressions: without the checks here, 200 bytes of gzip stop a process for minutes, or become gigabytes.

Source: pax(1), "pax Interchange Format", https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html, and GNU
tar, "Storing Sparse Files", https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html
"""

import os
import re
import tarfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self, cast

LARGEST_READ = 1 << 20
"""Bytes of one read."""
MAX_HEADERS = 2 << 20
"""Bytes of all headers of one member."""
MAX_RECORDS = 1000
"""Records of one pax header that describe the member, or are skipped; tar writes about ten."""

_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_READ = re.compile(rb"path|linkpath|size|mtime|uid|gid|uname|gname|hdrcharset|GNU\.sparse\.[a-z]+")
_NUMBER = re.compile(rb"[0-9]{256}")  # longer than a number or the name of a file can be
_LENGTH = 8  # digits


class TarRefused(ValueError):
    """A header of the archive is too large."""


class TarReader:
    """The members of the tar *content*, which seeks, or at least reads; it is closed with the reader.

    Each method raises `TarRefused`, or `tarfile.TarError` for what is no tar.
    """

    def __init__(self, content: IO[bytes], *, seekable: bool = True) -> None:
        self._source = _Source(content, seekable=seekable)
        try:
            file = cast(IO[bytes], self._source)
            self._archive = tarfile.open(fileobj=file, mode="r:", tarinfo=_Member)  # noqa: SIM115
        except RecursionError as error:
            raise TarRefused("a file has too many headers") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """The members in order; read the content of one before the next."""
        while (member := self._next()) is not None:
            yield member

    def content(self, member: tarfile.TarInfo) -> IO[bytes]:
        """The bytes of *member*, which must be a file."""
        if member.islnk() or member.issym() or (content := self._archive.extractfile(member)) is None:
            raise TarRefused(f"{member.name[:200]!r} is not a file")
        return content

    def _next(self) -> tarfile.TarInfo | None:
        self._source.begin_headers()
        try:
            return self._archive.next()
        except RecursionError as error:
            raise TarRefused("a file has too many headers") from error
        finally:
            self._source.end_headers()
            self._archive.members.clear()  # type: ignore[attr-defined]


class _Member(tarfile.TarInfo):
    """A member whose pax headers are checked before `tarfile` reads them."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _PAX:
            source = cast(_Source, archive.fileobj)
            source.put_back(_checked(source.read(-(-self.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)))
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


def _checked(header: bytes) -> bytes:
    """The pax *header* with the records that `tarfile` uses, and zeros instead of the others."""
    position, records, count = 0, list[bytes](), 0
    while position < len(header) and header[position]:
        count += 1
        digits = header[position : position + _LENGTH + 1].partition(b" ")[0]
        record = header[position : position + int(digits)] if digits.isdigit() and len(digits) <= _LENGTH else b""
        keyword, equals, _ = record[len(digits) + 1 :].partition(b"=")
        if not (keyword and equals and record.endswith(b"\n")) or count > MAX_RECORDS:
            raise TarRefused("a file has a pax header that is malformed")
        if _READ.fullmatch(keyword):
            if _NUMBER.search(record):
                raise TarRefused("a file has a pax header with a number that is too long")
            records.append(record)
        position += len(record)
    return b"".join(records).ljust(len(header), b"\0")


class _Source:
    """The file that `tarfile` reads; what it reads for headers is bounded."""

    def __init__(self, content: IO[bytes], *, seekable: bool) -> None:
        self._content = content
        self._seekable = seekable
        self._position = 0
        self._left: int | None = MAX_HEADERS
        self._next = b""

    def put_back(self, content: bytes) -> None:
        """Let the next read, which is of the same size, return *content* again."""
        self._next = content
        self._position -= len(content)

    def begin_headers(self) -> None:
        self._left = MAX_HEADERS

    def end_headers(self) -> None:
        self._left = None

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise TarRefused("it has a header that is too large")
        if self._next:
            content, self._next = self._next, b""
            self._position += len(content)
            return content
        content = self._content.read(size)
        self._position += len(content)
        if self._left is not None:
            self._left -= len(content)
            if self._left < 0:
                raise TarRefused("a file has headers that are too large")
        return content

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        if self._seekable:
            try:
                self._position = self._content.seek(place, whence)
            except OverflowError as error:
                raise TarRefused("a file is too large") from error
            return self._position
        if whence != os.SEEK_SET or place < self._position:
            raise TarRefused("it can be read forwards only")
        while self._position < place and (skipped := self._content.read(min(place - self._position, LARGEST_READ))):
            self._position += len(skipped)
        return self._position

    def tell(self) -> int:
        return self._position
