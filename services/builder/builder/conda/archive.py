"""Read the archives of conda packages as streams, never unpacking by file name. Each is verified before it is opened.

Source: "Conda package specification", https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html:
`.tar.bz2`, and `.conda`, a zip of `info-….tar.zst` and `pkg-….tar.zst`.
"""

import bz2
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, cast

import zstandard

from builder.conda.model.package import DESCRIPTIONS, MAX_FILES, Malformed, Package, read_package
from swell.archives.tar import LARGEST_READ, TarReader

_DESCRIPTION_BYTES = 256 << 20  # of an archive's metadata, uncompressed
_DIRECTORY_BYTES = 1 << 20  # of a zip; `zipfile` reads all of it, and needs ten times as much memory
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zstandard.ZstdError, EOFError, UnicodeError, ValueError, KeyError)


def describe(archive: Path, *, limit: int) -> Package:
    """Read the metadata of the package *archive*; of the older format, at most *limit* uncompressed bytes are read.

    Raises:
        Malformed: it is no package.
        OSError: the disk does not give it.
    """
    with _explained(), ExitStack() as opened:
        newer = archive.suffix == ".conda"
        most = _DESCRIPTION_BYTES if newer else limit
        stream = _Bounded(opened.enter_context(_unpacked(archive, "info-" if newer else "", limit)), most)
        members = opened.enter_context(TarReader(cast(IO[bytes], stream), seekable=False))
        return read_package(_descriptions(members))


def _descriptions(members: TarReader) -> dict[str, bytes]:
    """Return the metadata files in `info/`. In the older format they are at the start of the archive."""
    found: dict[str, bytes] = {}
    for count, member in enumerate(members):
        if count >= MAX_FILES:
            raise Malformed(f"the archive has more than {MAX_FILES} files")
        if member.name in DESCRIPTIONS and member.isfile():
            if member.size > _DESCRIPTION_BYTES:
                raise Malformed(f"{member.name} is too large")
            content = members.content(member)
            found[member.name] = b"".join(iter(partial(content.read, LARGEST_READ), b""))
        elif not member.name.startswith("info/") and {"info/index.json", "info/paths.json"} <= found.keys():
            break
    return found


class Contents:
    """The files of one package, readable in any order."""

    def __init__(self, archive: TarReader) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for count, member in enumerate(archive):
            if count >= MAX_FILES:
                raise Malformed(f"the archive has more than {MAX_FILES} files")
            self._members[member.name.removeprefix("./")] = member

    def find(self, path: str) -> tarfile.TarInfo:
        """Return the member at *path*; for a hard link, its target.

        Raises:
            Malformed: the archive has no such member.
        """
        for _ in range(8):
            member = self._members.get(path)
            if member is None:
                break
            if not member.islnk():
                return member
            path = member.linkname.removeprefix("./")
        raise Malformed(f"the archive has no {path[:200]!r}")

    def pieces(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """Yield the bytes of a file."""
        content = self._archive.content(member)
        while piece := content.read(LARGEST_READ):
            yield piece


@contextmanager
def contents(archive: Path, scratch: Path, *, limit: int) -> Iterator[Contents]:
    """Open the files of the package *archive*, decompressed to *scratch*: one tar of at most *limit* bytes.

    Raises:
        Malformed: it is no package, or too large.
        OSError: the disk does not take it.
    """
    with _explained(), ExitStack() as opened:
        opened.callback(scratch.unlink, missing_ok=True)
        with (
            _unpacked(archive, "pkg-" if archive.suffix == ".conda" else "", limit) as source,
            scratch.open("xb") as file,
        ):
            shutil.copyfileobj(cast(IO[bytes], _Bounded(source, limit)), file, LARGEST_READ)
        yield Contents(opened.enter_context(TarReader(opened.enter_context(scratch.open("rb")))))


@contextmanager
def _unpacked(archive: Path, part: str, limit: int) -> Iterator[IO[bytes]]:
    """Open *part* of *archive*, whose compressed form may have *limit* bytes: it may be compressed twice."""
    with ExitStack() as opened:
        if archive.suffix != ".conda":
            yield opened.enter_context(bz2.open(archive, "rb"))
            return
        file = _Directory(opened.enter_context(archive.open("rb")))
        parts = opened.enter_context(zipfile.ZipFile(cast(IO[bytes], file)))
        file.is_read = True
        names = [name for name in parts.namelist() if name.startswith(part) and name.endswith(".tar.zst")]
        if len(names) != 1:
            raise Malformed(f"the archive has no {part}….tar.zst")
        if parts.getinfo(names[0]).file_size > limit:
            raise Malformed("the archive is too large when it is unpacked")
        packed = opened.enter_context(parts.open(names[0]))
        yield opened.enter_context(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True))


class _Directory:
    """A zip file: before its directory `is_read`, at most 1 MiB of it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.is_read = False
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1) -> bytes:
        if not (self.is_read or 0 <= size <= _DIRECTORY_BYTES):
            size = _DIRECTORY_BYTES + 1
        content = self._file.read(size)
        if not self.is_read and len(content) > _DIRECTORY_BYTES:
            raise Malformed("the archive has too many parts")
        return content


class _Bounded:
    """A file that raises an error after *limit* bytes."""

    def __init__(self, source: IO[bytes], limit: int) -> None:
        self._source = source
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        content = self._source.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise Malformed("the archive is too large when it is unpacked")
        return content


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Malformed:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise Malformed(f"the archive cannot be read: {error}") from error  # bz2 raises it for invalid data
    except _BROKEN as error:
        raise Malformed(f"the archive cannot be read: {error}") from error
