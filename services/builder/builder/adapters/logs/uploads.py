"""Stores finished logs, steps, lock files and provenance: at once, or later while the object store is unavailable."""

import asyncio
from datetime import timedelta
from pathlib import Path

from swell.concurrency.periodic import every
from swell.concurrency.tasks import TaskOwner
from swell.errors import Unavailable
from swell.log import log
from swell.store.objects import Objects

AT_ONCE = 2.0  # seconds that a build waits for its log to be stored
AGAIN = timedelta(seconds=5)
LIMIT = 1 << 30  # bytes of files that wait

_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"


class Uploads:
    """Files that wait in *folder*, each with the name of its object; the next process stores those that a crash left.

    Above *limit* bytes, the oldest are removed: the lines of a log are also in the stream LOGS.
    """

    def __init__(self, objects: Objects, folder: Path, limit: int = LIMIT) -> None:
        self._objects = objects
        self._folder = folder
        self._limit = limit
        self._tasks = TaskOwner()
        self._storing: set[Path] = set()
        self._is_unavailable = False

    async def add(self, name: str, path: Path) -> None:
        """Move *path* into the folder, and store it as *name*; return after 2 s if it is not stored by then.

        The object store is not waited for while it is known to be unavailable.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        file = path.replace(self._folder / name)
        if self._is_unavailable:
            self._evict()
            return
        task = self._tasks.start(self._store_or_log(file))
        _, unfinished = await asyncio.wait({task}, timeout=AT_ONCE)
        self._is_unavailable |= bool(unfinished)

    async def add_content(self, name: str, content: bytes) -> None:
        """Store *content* as *name*; see `add`."""
        path = self._folder.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(path.write_bytes, content)
        await self.add(name, path)

    async def run(self) -> None:
        """Store the files that wait, until cancelled."""
        await every(AGAIN, self._store_waiting, event="finished logs wait for the object store")

    async def _store_waiting(self) -> None:
        try:
            for file in self._oldest_first():
                if file not in self._storing:
                    await self._store(file)
            self._is_unavailable = bool(self._storing)
        except OSError as error:
            raise Unavailable(f"a finished log cannot be read: {error}") from error

    async def _store_or_log(self, file: Path) -> None:
        try:
            await self._store(file)
        except Unavailable as error:
            log.warning("log not stored yet", name=file.name, error=str(error))

    async def _store(self, file: Path) -> None:
        self._storing.add(file)
        try:
            before = file.stat()
            await self._objects.put_file(file.name, file, _JSON if file.suffix in {".steps", ".json"} else _TEXT)
            if file.stat().st_ino == before.st_ino:  # otherwise another attempt has finished in the meantime
                file.unlink()
        except FileNotFoundError:
            return  # removed to make room
        except Unavailable:
            self._is_unavailable = True
            raise
        finally:
            self._storing.discard(file)

    def _oldest_first(self) -> list[Path]:
        files = self._folder.iterdir() if self._folder.exists() else ()
        return sorted(files, key=lambda file: file.stat().st_mtime)

    def _evict(self) -> None:
        files = self._oldest_first()
        excess = sum(file.stat().st_size for file in files) - self._limit
        for file in files:
            if excess <= 0:
                return
            excess -= file.stat().st_size
            file.unlink()
            log.error("log removed: too many wait for the object store", name=file.name)
