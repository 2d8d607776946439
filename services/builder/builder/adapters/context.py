"""Build contexts: unpacking an archive that a stranger made."""

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import IO, cast

from builder.domain.failure import BuildFailure, Reason

_MOST_MEMBERS = 100_000
_LARGEST_READ = 1 << 20
"""Headers are read at once: a header of a gigabyte would be as much memory. File contents come in small reads."""


def unpack(archive: Path, directory: Path, limit: int) -> None:
    """Unpack the gzipped tar file *archive* into *directory*, which must be empty; at most *limit* bytes.

    Links that lead outside, absolute names, devices and owners are refused or ignored, as tarfile's `data` filter has
    it. Nothing is overwritten by name outside *directory*.

    Raises:
        BuildFailure: it is no such archive, too large, or it reaches outside.
        OSError: the disk does not take it.
    """
    try:
        with _Bounded(archive, limit) as stream, tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as members:
            for number, member in enumerate(members):
                if number >= _MOST_MEMBERS:
                    raise _refused(f"it has more than {_MOST_MEMBERS} files")
                members.extract(member, directory, filter="data")
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, KeyError) as error:
        raise _refused(str(error)) from error


class _Bounded(gzip.GzipFile):
    """A gzip reader that gives up after *limit* bytes, counting what is read again."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(path, "rb")
        self._left = limit

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LARGEST_READ:
            raise _refused("it has a header that is too large")
        content = super().read(size)
        self._left -= len(content)
        if self._left < 0:
            raise _refused("it is too large")
        return content


def _refused(why: str) -> BuildFailure:
    return BuildFailure(Reason.CONTEXT, f"The build context cannot be unpacked: {why}.")
