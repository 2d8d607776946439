"""Build contexts: unpacking an archive that a stranger made."""

import gzip
import os
import shutil
import tarfile
import zlib
from functools import partial
from pathlib import Path
from typing import IO, cast

from builder.domain.failure import BuildFailure
from swell.store.records import Reason

_MOST_MEMBERS = 100_000
_LARGEST_READ = 1 << 20
"""Headers are read at once: a header of a gigabyte would be as much memory. File contents come in small reads."""


def unpack(archive: Path, directory: Path, *, limit: int, owner: int) -> None:
    """Unpack the gzipped tar file *archive* into *directory*, which must be empty; at most *limit* bytes.

    Everything belongs to *owner*. Links that lead outside, absolute names and devices are refused or made harmless, as
    tarfile's `data` filter has it.

    Raises:
        BuildFailure: it is no such archive, too large, or it reaches outside.
        OSError: the disk does not take it.
    """
    try:
        with _Bounded(archive, limit) as stream, tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as members:
            for number, member in enumerate(members):
                if number >= _MOST_MEMBERS:
                    raise _refused(f"it has more than {_MOST_MEMBERS} files")
                members.extract(member, directory, filter=partial(_filter, owner))
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, KeyError) as error:
        raise _refused(str(error)) from error


def add(path: Path, content: IO[bytes], *, owner: int) -> None:
    """Write *content* to *path* in a context; what an archive has put there makes place, be it a link.

    Raises:
        BuildFailure: there is a directory of that name.
        OSError: the disk does not take it.
    """
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError as error:
        raise _refused(f"{path.name} is a directory there") from error
    with path.open("xb") as file:
        shutil.copyfileobj(content, file)
    os.chown(path, owner, owner)


def _filter(owner: int, member: tarfile.TarInfo, directory: str) -> tarfile.TarInfo:
    safe = tarfile.data_filter(member, directory)
    return safe.replace(uid=owner, gid=owner, uname="", gname="", deep=False)


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
