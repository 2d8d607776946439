"""Unpacks build contexts, which are untrusted archives.

The builder unpacks as root, so that no symbolic link is followed, not even one that stays inside: each directory is
opened relative to its parent. The filters of `tarfile` check a path and follow it afterwards. Before Python 3.11.13 an
archive can make them write anywhere.

Source: CVE-2025-4517, https://nvd.nist.gov/vuln/detail/CVE-2025-4517
"""

import errno
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from builder.domain.failure import BuildFailure
from swell.archives.gunzip import open_gzip
from swell.archives.tar import LARGEST_READ, TarReader
from swell.store.records import Reason

_MOST_MEMBERS = 100_000
_LONGEST_NAME = 4096  # characters, PATH_MAX: what reads the context afterwards opens a file by its whole name
_LATEST = 1 << 33  # seconds since 1970 that every file system supports
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ARCHIVE_ERRORS = {
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOENT,
    errno.EMLINK,
}


def unpack(archive: Path, directory: Path, *, limit: int, owner: int) -> None:
    """Unpack the gzipped tar file *archive* into *directory*, which must be empty; at most *limit* bytes.

    Everything belongs to *owner*; permissions and times are preserved. Links that lead outside, names that lead through
    a link, and devices are refused. Absolute names are relative to *directory*, as in tar(1).

    Raises:
        BuildFailure: the archive is invalid, too large, or leads outside.
        OSError: the disk is full, for example.
    """
    try:
        with (
            archive.open("rb") as file,
            TarReader(cast(IO[bytes], _Bounded(file, limit))) as members,
            _opened(os.open(directory, _FOLDER)) as root,
        ):
            _Tree(root, owner).fill(members, limit)
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise _refused(str(error)) from error


def add(path: Path, content: IO[bytes], *, owner: int) -> None:
    """Write *content* to *path* in a context, and replace a file or link of the archive there.

    Raises:
        BuildFailure: *path* is a directory.
        OSError: the disk is full, for example.
    """
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError as error:
        raise _refused(f"{path.name} is a directory there") from error
    with path.open("xb") as file:
        shutil.copyfileobj(content, file)
    os.chown(path, owner, owner)


def is_link(directory: Path, path: str) -> bool:
    """Whether *path* below *directory*, or a directory on the way to it, is a symbolic link."""
    parts = Path(path).parts
    return any((directory / Path(*parts[: count + 1])).is_symlink() for count in range(len(parts)))


class _Tree:
    """The files below the open directory *root*."""

    def __init__(self, root: int, owner: int) -> None:
        self._root = root
        self._owner = owner

    def fill(self, members: TarReader, limit: int) -> None:
        times = list[tuple[list[str], float]]()  # of directories, which change while they are filled
        left = limit
        for number, member in enumerate(members):
            if number >= _MOST_MEMBERS:
                raise _refused(f"it has more than {_MOST_MEMBERS} files")
            if (left := left - member.size) < 0:  # a sparse file is larger than its data in the archive
                raise _refused("it is too large")
            with _named_errors(member.name):
                parts = _parts(member.name)
                self._put(parts, member, members)
                if member.isdir():
                    times.append((parts, _time(member)))
        for parts, time in times:
            with _named_errors("/".join(parts)), self._folder(parts) as folder:
                os.utime(folder, (time, time))

    def _put(self, parts: list[str], member: tarfile.TarInfo, members: TarReader) -> None:
        if member.isdir():
            with self._folder(parts) as folder:
                if parts:
                    os.fchmod(folder, member.mode & 0o777 | 0o700)
            return
        if not parts or not (member.isfile() or member.issym() or member.islnk()):
            raise ValueError("it is not a file, a directory or a link")
        *folders, name = parts
        with self._folder(folders) as folder:
            _remove_existing(folder, name)
            if member.isfile():
                self._write(folder, name, member, members.content(member))
            elif member.issym():
                _check_inside(folders, member.linkname)
                os.symlink(member.linkname, name, dir_fd=folder)
                os.chown(name, self._owner, self._owner, dir_fd=folder, follow_symlinks=False)
            else:
                self._link(member.linkname, folder, name)

    def _write(self, folder: int, name: str, member: tarfile.TarInfo, content: IO[bytes]) -> None:
        with os.fdopen(os.open(name, _NEW_FILE, 0o600, dir_fd=folder), "wb") as file:
            shutil.copyfileobj(content, file, LARGEST_READ // 4)
            file.flush()
            os.fchown(file.fileno(), self._owner, self._owner)
            os.fchmod(file.fileno(), member.mode & 0o777 | 0o600)
            os.utime(file.fileno(), (_time(member), _time(member)))

    def _link(self, target: str, folder: int, name: str) -> None:
        *folders, other = _parts(target) or [""]
        with self._folder(folders, make=False) as there:
            os.link(other, name, src_dir_fd=there, dst_dir_fd=folder, follow_symlinks=False)

    @contextmanager
    def _folder(self, parts: Sequence[str], *, make: bool = True) -> Iterator[int]:
        """Open the directory *parts* without following links."""
        folder = os.dup(self._root)
        try:
            for part in parts:
                if make:
                    self._make(part, folder)
                inner = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def _make(self, name: str, folder: int) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=folder)
        except FileExistsError:
            return
        os.chown(name, self._owner, self._owner, dir_fd=folder, follow_symlinks=False)


@contextmanager
def _opened(file: int) -> Iterator[int]:
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Raise errors in the block that the archive causes as `BuildFailure` with *name*."""
    try:
        yield
    except ValueError as error:
        raise _refused(f"{name[:200]!r}: {error}") from error
    except OSError as error:
        if error.errno not in _ARCHIVE_ERRORS:
            raise
        raise _refused(f"{name[:200]!r}: {error.strerror}") from error


def _remove_existing(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _parts(name: str) -> list[str]:
    """Split *name* into its parts, from the root of the context."""
    if len(name) > _LONGEST_NAME:
        raise ValueError("the name is too long")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ValueError("the name leads out of its directory")
    return parts


def _check_inside(folders: Sequence[str], target: str) -> None:
    """Raise `ValueError` if a link in *folders* to *target* leads out of the context."""
    depth = len(folders)
    for part in target.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            raise ValueError("the link leads outside")
    if target.startswith("/"):
        raise ValueError("the link is absolute")


def _time(member: tarfile.TarInfo) -> float:
    return min(max(member.mtime, 0), _LATEST)


class _Bounded:
    """A reader of the gzip *file* that fails after *limit* bytes; bytes that are read twice count twice."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._content = open_gzip(file)
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        content = self._content.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise _refused("it is too large")
        return content

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return self._content.seek(place, whence)

    def tell(self) -> int:
        return self._content.tell()


def _refused(why: str) -> BuildFailure:
    return BuildFailure(Reason.CONTEXT, f"The build context cannot be unpacked: {why}.")
