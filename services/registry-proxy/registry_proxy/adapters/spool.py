"""Blob files on the local disk: running transfers, and a cache of recent blobs."""

import fcntl
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from prometheus_client import Gauge

from registry_proxy.deliver.transfer import Extent
from registry_proxy.domain.ranges import Span
from swell.api.operator import CacheUse
from swell.errors import SpoolFull, Unavailable
from swell.log import log
from swell.oci.digest import Digest

KEEP_FREE = 1 << 30  # bytes of the disk that the spool never uses
USED = Gauge("swell_spool_used_bytes", "Bytes of the spool that are in use.")
LIMIT = Gauge("swell_spool_limit_bytes", "The most bytes of the spool.")
CHUNK = 4 << 20  # bytes reserved for a file at a time

Key = tuple[str, Digest]
"""The registry that sent the bytes, and their digest."""


class Owner(Protocol):
    """The transfer that writes an incomplete file."""

    @property
    def readers(self) -> int: ...

    def evict(self) -> None:
        """Stop writing: the disk space is needed, and the file has no reader."""


class SpoolFile:
    """A file that is open while at least one block of `opened` runs."""

    def __init__(self, spool: "Spool", path: Path, key: Key, size: int) -> None:
        self.path = path
        self.name = str(path.relative_to(path.parent.parent))
        self.key = key
        self.size = size
        self.reserved = 0
        self.users = 0
        self.owner: Owner | None = None
        self._spool = spool
        self._descriptor = -1
        self._written = 0

    @contextmanager
    def opened(self) -> Iterator[None]:
        if not self.users:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            if not self.users:
                os.close(self._descriptor)

    def reserve(self, count: int) -> None:
        if self._written + count > self.reserved:
            self._spool.reserve(self, self._written + count - self.reserved)

    def write(self, piece: bytes) -> None:
        remaining = memoryview(piece)
        try:
            while remaining:
                count = os.pwrite(self._descriptor, remaining, self._written)
                self._written += count
                remaining = remaining[count:]
        except OSError as error:
            raise Unavailable(f"this server cannot write to its disk: {error.strerror}") from error

    def extent(self, span: Span) -> Extent:
        return Extent(self._descriptor, span.start, span.stop)

    def cache(self) -> None:
        self._spool.cache(self)

    def drop(self) -> None:
        """Remove the file; its readers can finish, because the file stays open until the last one ends."""
        self._spool.drop(self)


class Spool:
    """Files of at most *limit* bytes in total. Space is reserved as bytes arrive, not from declared sizes.

    When space is needed, the spool evicts complete files without readers, least recently used first, and then
    incomplete files without readers.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        LIMIT.set(limit)
        self._used = 0
        self._count = 0
        self._complete: OrderedDict[Key, SpoolFile] = OrderedDict()
        self._incomplete: OrderedDict[SpoolFile, None] = OrderedDict()

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def use(self) -> CacheUse:
        """What the operator sees of the spool."""
        return CacheUse(name="spool", used=self._used, limit=self._limit)

    def find(self, registry: str, digest: Digest) -> SpoolFile | None:
        if file := self._complete.get((registry, digest)):
            self._complete.move_to_end(file.key)
        return file

    def new(self, registry: str, digest: Digest, size: int) -> SpoolFile | None:
        """Create an empty file; None if *size* bytes can never fit, or if no space is free now."""
        if size > self._limit:
            return None
        self._count += 1
        file = SpoolFile(self, self._folder / str(self._count), (registry, digest), size)
        try:
            self.reserve(file, min(size, 1))
        except SpoolFull:
            return None
        self._incomplete[file] = None
        return file

    def reserve(self, file: SpoolFile, need: int) -> None:
        """Reserve at least *need* more bytes for *file*.

        Raises:
            SpoolFull: the spool or the disk is full.
        """
        chunk = max(need, min(CHUNK, file.size - file.reserved))
        if not self._has_space(chunk):
            chunk = need
        if not self._has_space(chunk):
            raise SpoolFull("this server's disk has no space for the rest of the blob")
        self._used += chunk
        USED.set(self._used)
        file.reserved += chunk

    def cache(self, file: SpoolFile) -> None:
        self._incomplete.pop(file, None)
        if file.key in self._complete:
            self.drop(file)
        else:
            self._complete[file.key] = file

    def drop(self, file: SpoolFile) -> None:
        self._incomplete.pop(file, None)
        self._used -= file.reserved
        USED.set(self._used)
        file.reserved = 0
        with suppress(FileNotFoundError):
            file.path.unlink()

    def _has_space(self, count: int) -> bool:
        self._evict(count)
        is_on_disk = count <= shutil.disk_usage(self._folder).free - KEEP_FREE
        return self._used + count <= self._limit and is_on_disk

    def _evict(self, count: int) -> None:
        for key, file in list(self._complete.items()):
            if self._used + count <= self._limit:
                return
            if not file.users:
                del self._complete[key]
                self.drop(file)
        for file in list(self._incomplete):
            if self._used + count <= self._limit:
                return
            if file.owner and not file.owner.readers:
                file.owner.evict()
                self.drop(file)


@contextmanager
def open_spool(parent: Path | None, limit: int) -> Iterator[Spool]:
    """Open a spool of *limit* bytes in a new folder below *parent* (default: the folder for temporary files).

    It first removes the folders of crashed processes; those of running processes stay.
    """
    parent = parent or Path(tempfile.gettempdir()) / f"swell-spool-{os.getuid()}"
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for other in parent.iterdir():
        _remove_if_abandoned(other)
    folder = Path(tempfile.mkdtemp(prefix="spool-", dir=parent))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield Spool(folder, limit)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    """Remove *folder* unless a running process holds its lock."""
    try:
        with (folder / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            log.info("abandoned spool removed", folder=folder.name)
    except OSError:
        return
