"""Headers of tar entries, in the form of Wave's clients: a number has its digits and a blank, names above 100 bytes
have a pax header. `tarfile` of the standard library writes numbers in another form, which gives other digests.

Source: POSIX pax interchange format, https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
"""

from collections.abc import Iterator
from enum import StrEnum

BLOCK = 512
END = bytes(2 * BLOCK)

_NAME = 100  # bytes
_PAX_NAME = 99
_LARGEST = 8**11 - 1


class EntryType(StrEnum):
    FILE = "0"
    SYMLINK = "2"
    FOLDER = "5"
    PAX = "x"


_MODES = {EntryType.FILE: 0o100000, EntryType.SYMLINK: 0o120000, EntryType.FOLDER: 0o040000, EntryType.PAX: 0o100000}


def headers(name: str, kind: EntryType, *, mode: int, size: int = 0, mtime: int = 0, target: str = "") -> bytes:
    """The header of an entry, after a pax header if *name*, or the *target* of a link, needs one.

    *mode* has the permission bits, *size* is in bytes, *mtime* in seconds since 1970.

    Raises:
        ValueError: the size or the time has more digits than a header has.
    """
    encoded, link = (text.encode("utf-8", "surrogateescape") for text in (name, target))
    records = b"".join(_records(encoded, link))
    pax = b""
    if records:
        pax_name = (b"./PaxHeaders.X/" + encoded.lstrip(b"/"))[:_PAX_NAME]
        pax = _header(pax_name, EntryType.PAX, mode=0o644, size=len(records), mtime=mtime, owner=b"")
        pax += records + padding(len(records))
    return pax + _header(encoded[:_NAME], kind, mode=mode, size=size, mtime=mtime, link=link[:_NAME])


def padding(size: int) -> bytes:
    """The zeros between the end of a content of *size* bytes and the next block."""
    return bytes(-size % BLOCK)


def _records(name: bytes, link: bytes) -> Iterator[bytes]:
    for key, value in ((b"path", name), (b"linkpath", link)):
        if len(value) > _NAME:
            yield _record(key, value)


def _record(key: bytes, value: bytes) -> bytes:
    """`<length> <key>=<value>` and a line feed, where the length includes its own digits."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%s" % (length, rest)


def _header(
    name: bytes, kind: EntryType, *, mode: int, size: int, mtime: int, link: bytes = b"", owner: bytes = b"root"
) -> bytes:
    if not (0 <= size <= _LARGEST and 0 <= mtime <= _LARGEST):
        raise ValueError(f"a tar header has no place for {size} bytes or the time {mtime}")
    user = owner.ljust(32, b"\0")
    zero = b"0000000 "
    start = name.ljust(_NAME, b"\0") + b"%07o " % (_MODES[kind] | mode) + zero * 2 + b"%011o %011o " % (size, mtime)
    end = kind.encode() + link.ljust(_NAME, b"\0") + b"ustar\x0000" + user * 2 + zero * 2
    checksum = sum(start) + sum(end) + 8 * ord(" ")
    return (start + b"%06o\0 " % checksum + end).ljust(BLOCK, b"\0")
