"""Files of blobs on this machine's disk: those on their way here, and the last ones that passed."""

import fcntl
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from registry_proxy.deliver.transfer import Extent
from registry_proxy.domain.ranges import Span
from swell.errors import SpoolFull, Unavailable
from swell.log import log
from swell.oci.digest import Digest

LEFT_FREE = 1 << 30  # bytes of the disk that are not ours to fill
CHUNK = 4 << 20  # bytes of room that a file is given at a time

Key = tuple[str, Digest]
"""What a file is found by: the registry whose bytes it holds, and their digest."""


class Owner(Protocol):
    """Who writes a file that is not whole yet."""

    @property
    def readers(self) -> int: ...

    def evict(self) -> None:
        """Stop writing: the file's room was needed, and there is no reader."""


class SpoolFile:
    """A file that is open while somebody is in a block of `held`."""

    def __init__(self, spool: "Spool", path: Path, key: Key, size: int) -> None:
        self.path = path
        self.name = str(path.relative_to(path.parent.parent))
        self.key = key
        self.size = size
        self.reserved = 0
        self.holders = 0
        self.owner: Owner | None = None
        self._spool = spool
        self._descriptor = -1
        self._written = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        if not self.holders:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.holders += 1
        try:
            yield
        finally:
            self.holders -= 1
            if not self.holders:
                os.close(self._descriptor)

    def reserve(self, count: int) -> None:
        if self._written + count > self.reserved:
            self._spool.reserve(self, self._written + count - self.reserved)

    def write(self, piece: bytes) -> None:
        left = memoryview(piece)
        try:
            while left:
                count = os.pwrite(self._descriptor, left, self._written)
                self._written += count
                left = left[count:]
        except OSError as error:
            raise Unavailable(f"this server's disk takes no more: {error.strerror}") from error

    def extent(self, span: Span) -> Extent:
        return Extent(self._descriptor, span.start, span.stop)

    def keep(self) -> None:
        self._spool.keep(self)

    def drop(self) -> None:
        """Its readers go on reading: the file is gone when the last of them is."""
        self._spool.drop(self)


class Spool:
    """At most *room* bytes of files. Room is given as bytes arrive, so a size that is only declared occupies nothing.

    When it is needed, whole files that are not read go first, the longest unused before the others, then files on their
    way that have no reader.
    """

    def __init__(self, folder: Path, room: int) -> None:
        self._folder = folder
        self._room = room
        self._used = 0
        self._made = 0
        self._whole: OrderedDict[Key, SpoolFile] = OrderedDict()
        self._growing: OrderedDict[SpoolFile, None] = OrderedDict()

    def find(self, registry: str, digest: Digest) -> SpoolFile | None:
        if file := self._whole.get((registry, digest)):
            self._whole.move_to_end(file.key)
        return file

    def new(self, registry: str, digest: Digest, size: int) -> SpoolFile | None:
        """An empty file; None when *size* bytes can never fit, or there is no room to begin."""
        if size > self._room:
            return None
        self._made += 1
        file = SpoolFile(self, self._folder / str(self._made), (registry, digest), size)
        try:
            self.reserve(file, min(size, 1))
        except SpoolFull:
            return None
        self._growing[file] = None
        return file

    def reserve(self, file: SpoolFile, need: int) -> None:
        """Give *file* room for at least *need* more bytes.

        Raises:
            SpoolFull: there is none, or the disk is full.
        """
        chunk = max(need, min(CHUNK, file.size - file.reserved))
        if not self._has_room(chunk):
            chunk = need
        if not self._has_room(chunk):
            raise SpoolFull("there is no room on this server's disk for more of the blob")
        self._used += chunk
        file.reserved += chunk

    def keep(self, file: SpoolFile) -> None:
        self._growing.pop(file, None)
        if file.key in self._whole:
            self.drop(file)
        else:
            self._whole[file.key] = file

    def drop(self, file: SpoolFile) -> None:
        self._growing.pop(file, None)
        self._used -= file.reserved
        file.reserved = 0
        with suppress(FileNotFoundError):
            file.path.unlink()

    def _has_room(self, count: int) -> bool:
        self._evict(count)
        is_on_disk = count <= shutil.disk_usage(self._folder).free - LEFT_FREE
        return self._used + count <= self._room and is_on_disk

    def _evict(self, count: int) -> None:
        for key, file in list(self._whole.items()):
            if self._used + count <= self._room:
                return
            if not file.holders:
                del self._whole[key]
                self.drop(file)
        for file in list(self._growing):
            if self._used + count <= self._room:
                return
            if file.owner and not file.owner.readers:
                file.owner.evict()
                self.drop(file)


@contextmanager
def open_spool(parent: Path | None, room: int) -> Iterator[Spool]:
    """A spool of *room* bytes in a folder of its own below *parent*, or where this machine keeps temporary files.

    What a process left there that was killed is removed first; others that live there as well keep theirs.
    """
    parent = parent or Path(tempfile.gettempdir()) / f"swell-spool-{os.getuid()}"
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in parent.iterdir():
        _remove_if_left(left)
    folder = Path(tempfile.mkdtemp(prefix="spool-", dir=parent))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield Spool(folder, room)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    """The lock of a process that lives is not to be had, whatever has become of its id."""
    try:
        with (folder / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            log.info("spool of another time removed", folder=folder.name)
    except OSError:
        return
