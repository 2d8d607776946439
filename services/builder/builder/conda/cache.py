"""A folder of files that builds share, of a bounded size: what was not used for the longest time goes first."""

import os
import uuid
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import IO, Any

TEMPORARY = ".part"


class Folder:
    """Files by name. Whoever uses one takes a link of it, which stays when the file is evicted here."""

    def __init__(self, path: Path, limit: int) -> None:
        """At most *limit* bytes are kept, once the last file that was put is not counted. Left-overs are removed."""
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._limit = limit
        self._putting = Lock()
        for left in path.glob(f"*{TEMPORARY}"):
            left.unlink(missing_ok=True)

    def link(self, name: str, to: Path) -> bool:
        """Have the file *name* at *to* as well, which counts as a use; false when it is not here."""
        try:
            os.utime(self._path / name)
            to.hardlink_to(self._path / name)
        except FileNotFoundError:
            return False
        return True

    def begin(self) -> "IO[bytes]":
        """A file to be written, which is gone when it is closed, unless it was `put`."""
        made: Any = NamedTemporaryFile(dir=self._path, suffix=TEMPORARY)  # noqa: SIM115  (the caller closes it)
        return made  # type: ignore[no-any-return]

    def put(self, name: str, path: Path) -> None:
        """Keep the file *path*, which nobody will change any more, as *name*, in one step."""
        beside = self._path / f"{uuid.uuid4().hex}{TEMPORARY}"
        with self._putting:
            beside.hardlink_to(path)
            beside.replace(self._path / name)
            self._evict(name)

    def drop(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def _evict(self, newest: str) -> None:
        known = [(found.stat(), found) for found in self._path.iterdir() if not found.name.endswith(TEMPORARY)]
        size = sum(stat.st_size for stat, _ in known)
        for stat, found in sorted(known, key=lambda each: each[0].st_mtime_ns):
            if size <= self._limit:
                break
            if found.name != newest:
                found.unlink(missing_ok=True)
                size -= stat.st_size
