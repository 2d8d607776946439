"""Files of blobs on this machine's disk: those on their way here, and the last ones that passed."""

import fcntl
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registry_proxy.domain.ranges import Span
from registry_proxy.transfer import Extent
from swell.errors import Unavailable
from swell.log import log
from swell.oci.digest import Digest

LEFT_FREE = 1 << 30  # bytes of the disk that are not ours to fill


class SpoolFile:
    """A file that is open while somebody is in a block of `held`, and in nobody's way otherwise."""

    def __init__(self, spool: "Spool", path: Path, digest: Digest, size: int) -> None:
        self.path = path
        self.name = str(path.relative_to(path.parent.parent))
        self.digest = digest
        self.size = size
        self._spool = spool
        self.holders = 0
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
    """At most *room* bytes of files, the longest unused going first; a file that is held keeps its room."""

    def __init__(self, folder: Path, room: int) -> None:
        self._folder = folder
        self._room = room
        self._used = 0
        self._made = 0
        self._whole: OrderedDict[Digest, SpoolFile] = OrderedDict()

    def find(self, digest: Digest) -> SpoolFile | None:
        if file := self._whole.get(digest):
            self._whole.move_to_end(digest)
        return file

    def new(self, digest: Digest, size: int) -> SpoolFile | None:
        if size > self._room or size > shutil.disk_usage(self._folder).free - LEFT_FREE:
            return None
        self._make_room(size)
        if self._used + size > self._room:
            return None
        self._used += size
        self._made += 1
        return SpoolFile(self, self._folder / str(self._made), digest, size)

    def keep(self, file: SpoolFile) -> None:
        if file.digest in self._whole:
            self.drop(file)
        else:
            self._whole[file.digest] = file

    def drop(self, file: SpoolFile) -> None:
        self._used -= file.size
        with suppress(FileNotFoundError):
            file.path.unlink()

    def _make_room(self, size: int) -> None:
        for digest, file in list(self._whole.items()):
            if self._used + size <= self._room:
                return
            if not file.holders:
                del self._whole[digest]
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
