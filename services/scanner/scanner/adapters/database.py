"""The vulnerability database of a scan tool on this machine: import, replace, check.

Each import has a folder of its own, `database/<digest>`; the link `database/current` names the one in use. A match
that runs keeps its folder until it ends.
"""

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from scanner.adapters.programs import Programs, Scratch
from scanner.domain.failure import ScanFailure
from scanner.tools.protocol import DatabaseCondition, DatabaseState
from swell.disk import in_thread
from swell.log import log
from swell.store.scans import ScanProblem
from swell_sandbox.workspace import remove

_STATE, _CURRENT = "state.json", "current"
_COPY = 1 << 20
_HELP = "its operator sets SWELL_SCAN_DATABASE_URL or SWELL_SCAN_DATABASE_FILE, or imports one"


class Unpacked(Struct, frozen=True):
    """What was unpacked: when the database was built, and its schema."""

    built: datetime
    schema: str


class Unpacker(Protocol):
    """Unpacks the databases of one tool: `files`, the first of which is the database, belong into `folder`."""

    @property
    def folder(self) -> str: ...

    @property
    def files(self) -> tuple[str, ...]: ...

    async def unpack(self, scratch: Scratch, path: Path) -> Unpacked:
        """Unpack *path*, a database or an archive of one, into `files` of *scratch*.

        Raises:
            ScanFailure: it is no database of this tool.
        """


class _Stored(Struct, frozen=True):
    """What was imported: `source` names it, `sha256` is the digest of the database file."""

    built: datetime
    schema: str
    sha256: str
    source: str
    imported: datetime


class VulnerabilityDatabase:
    """The database in *folder*; *age* is the oldest that is used, *limit* the most bytes of a database."""

    def __init__(self, folder: Path, programs: Programs, unpacker: Unpacker, age: timedelta, limit: int) -> None:
        self._folder = folder
        self._programs = programs
        self._unpacker = unpacker
        self._file = f"{unpacker.folder}/{unpacker.files[0]}"
        self._age = age
        self._limit = limit
        self._verified: tuple[str, int, int] | None = None
        self._users: Counter[Path] = Counter()
        self._importing = asyncio.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    async def state(self) -> DatabaseState:
        """Return the state: a file that was changed since its import is damaged."""
        current = self._current()
        stored = _read_state(current) if current else None
        if current is None or stored is None:
            return DatabaseState(
                condition=DatabaseCondition.MISSING, message=f"this server has no vulnerability database: {_HELP}"
            )
        if not await self._is_intact(current, stored):
            return DatabaseState(
                condition=DatabaseCondition.DAMAGED, message=f"the vulnerability database is damaged: {_HELP}"
            )
        return DatabaseState(condition=DatabaseCondition.GOOD, built=stored.built, schema=stored.schema)

    async def suspect(self) -> None:
        """Read the whole file again at the next `state`, because a program could not use it."""
        self._verified = None

    async def source(self) -> str:
        """What the current database was imported from; empty if there is no usable one."""
        current = self._current()
        stored = _read_state(current) if current else None
        return stored.source if current and stored and await self._is_intact(current, stored) else ""

    @asynccontextmanager
    async def usable(self) -> AsyncIterator[Path]:
        """Yield the folder of the current database, which stays during the block.

        Raises:
            ScanFailure: the database is missing, damaged, or too old.
        """
        state = await self.state()
        check(state, self._age, datetime.now(UTC))
        folder = self._current()
        assert folder is not None  # noqa: S101  (its state is good)
        self._users[folder] += 1
        try:
            yield folder
        finally:
            self._users[folder] -= 1
            await in_thread(self._remove_unused)

    async def import_file(self, path: Path, source: str) -> DatabaseState:
        """Import a database, or an archive of one, and use it from now on; unpacking is a process without network.

        Raises:
            ScanFailure: it cannot be imported; the current one stays in use.
        """
        async with self._importing, self._programs.scratch() as scratch:
            unpacked = await self._unpacker.unpack(scratch, path)
            folder = await in_thread(self._store, scratch, unpacked, source)
            self._verified = None
            await in_thread(self._use, folder)
        state = await self.state()
        log.info("vulnerability database imported", built=str(state.built), schema=state.schema, source=source)
        return state

    def _store(self, scratch: Scratch, unpacked: Unpacked, source: str) -> Path:
        """Copy the unpacked file into a folder of its own; return the folder."""
        partial = self._folder / f"new.{os.getpid()}"
        remove(partial)
        (partial / self._unpacker.folder).mkdir(parents=True)
        digest, size = hashlib.sha256(), 0
        name, *others = self._unpacker.files
        with scratch.open(name) as read, (partial / self._file).open("wb") as written:
            while piece := read.read(_COPY):
                size += len(piece)
                if size > self._limit:
                    raise ScanFailure(ScanProblem.DISK, f"The database has more than {self._limit} bytes.")
                digest.update(piece)
                written.write(piece)
        for other in others:
            (partial / self._unpacker.folder / other).write_bytes(scratch.read(other))
        stored = _Stored(
            built=unpacked.built,
            schema=unpacked.schema,
            sha256=digest.hexdigest(),
            source=source,
            imported=datetime.now(UTC),
        )
        (partial / _STATE).write_bytes(msgspec.json.encode(stored))
        return self._placed(partial, stored)

    def _placed(self, partial: Path, stored: _Stored) -> Path:
        """Rename the complete folder *partial*, unless the current one has the same database."""
        folder = self._folder / stored.sha256[:16]
        if self._users[folder] or (folder.exists() and folder == self._current()):
            if _read_digest(folder / self._file) == stored.sha256:
                (folder / _STATE).write_bytes(msgspec.json.encode(stored))
                remove(partial)
                return folder
            folder = self._folder / f"{stored.sha256[:16]}.{int(stored.imported.timestamp())}"
        remove(folder)
        partial.rename(folder)
        return folder

    def _use(self, folder: Path) -> None:
        link = self._folder / f"{_CURRENT}.new"
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)
        link.rename(self._folder / _CURRENT)
        self._remove_unused()

    def _remove_unused(self) -> None:
        current = self._current()
        for folder in self._folder.iterdir():
            is_import = folder.is_dir() and not folder.is_symlink() and not folder.name.startswith("new.")
            if is_import and folder != current and not self._users[folder]:
                remove(folder)

    def _current(self) -> Path | None:
        try:
            folder = self._folder / (self._folder / _CURRENT).readlink()
        except OSError:
            return None
        return folder if folder.is_dir() else None

    async def _is_intact(self, folder: Path, stored: _Stored) -> bool:
        """Whether the file has its digest; it is read again when its size or time of change differs."""
        try:
            about = (folder / self._file).stat()
        except OSError:
            return False
        seen = stored.sha256, about.st_size, about.st_mtime_ns
        if self._verified != seen:
            if await in_thread(_read_digest, folder / self._file) != stored.sha256:
                return False
            self._verified = seen
        return True


def check(state: DatabaseState, age: timedelta, now: datetime) -> None:
    """Check that a database may be used.

    Raises:
        ScanFailure: it is missing, damaged, or older than *age*; the message says so.
    """
    if state.condition is DatabaseCondition.MISSING:
        raise ScanFailure(ScanProblem.DATABASE_MISSING, f"Not scanned: {state.message}.")
    if state.condition is DatabaseCondition.DAMAGED or state.built is None:
        raise ScanFailure(ScanProblem.DATABASE_DAMAGED, f"Not scanned: {state.message}.")
    if now - state.built > age:
        message = f"Not scanned: the database is {in_words(now - state.built)} old; the limit is {in_words(age)}."
        raise ScanFailure(ScanProblem.DATABASE_OLD, message)


def in_words(duration: timedelta) -> str:
    """Return a duration as `9 days`, or as hours below two days."""
    hours = int(duration.total_seconds() // 3600)
    number, unit = (hours, "hour") if hours < 48 else (hours // 24, "day")
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _read_state(folder: Path) -> _Stored | None:
    try:
        return msgspec.json.decode((folder / _STATE).read_bytes(), type=_Stored)
    except (OSError, msgspec.MsgspecError):
        return None


def _read_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
