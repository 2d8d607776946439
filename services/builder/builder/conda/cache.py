"""A folder of files that builds share, of a bounded size; the least recently used files are removed first."""

import os
import uuid
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import IO, Any

TEMPORARY = ".part"


class Folder:
    """Files by name. A build uses a hard link to a file, which remains when the file is evicted."""

    def __init__(self, path: Path, limit: int) -> None:
        """Store at most *limit* bytes, plus the file stored last. Incomplete files of earlier processes are removed."""
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._limit = limit
        self._putting = Lock()
        for leftover in path.glob(f"*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)

    def link(self, name: str, to: Path) -> bool:
        """Link the file *name* to *to*, which counts as a use; return False if the file is missing."""
        try:
            os.utime(self._path / name)
            to.hardlink_to(self._path / name)
        except FileNotFoundError:
            return False
        return True

    def begin(self) -> "IO[bytes]":
        """Open a new file for writing; it is removed on close unless it was stored with `put`."""
        file: Any = NamedTemporaryFile(dir=self._path, suffix=TEMPORARY)  # noqa: SIM115  (the caller closes it)
        return file  # type: ignore[no-any-return]

    def put(self, name: str, path: Path) -> None:
        """Store the complete file *path* as *name*, atomically."""
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
