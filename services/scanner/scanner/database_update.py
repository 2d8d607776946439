"""Update the vulnerability database: from a mirror by schedule, or from a file on a machine without internet access."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from scanner.domain.failure import ScanFailure
from scanner.tools.protocol import DatabaseCondition, DatabaseState
from swell.errors import SwellError
from swell.log import log


class Listing(Struct, frozen=True, kw_only=True):
    """The newest database of a mirror: its archive has the digest `checksum` (`sha256:<hex>`)."""

    url: str
    checksum: str
    built: datetime


class Mirror(Protocol):
    """Reads a mirror; raises `SwellError` if it fails, or if an archive is not what it lists."""

    async def latest(self) -> Listing: ...

    async def download(self, listing: Listing, path: Path) -> None:
        """Write the archive to *path*, and verify it."""


class Database(Protocol):
    async def state(self) -> DatabaseState: ...

    async def source(self) -> str:
        """What the current database was imported from; empty if there is no usable one."""

    async def import_file(self, path: Path, source: str) -> DatabaseState:
        """Use the database in *path* from now on; raises `ScanFailure` if it cannot be imported."""


class DatabaseUpdates:
    """Imports newer databases; *changed* is called after each import, *observe* with the state after each check."""

    def __init__(
        self,
        database: Database,
        mirror: Mirror | None,
        file: Path | None,
        workspace: Path,
        changed: Callable[[], None],
        observe: Callable[[DatabaseState], None],
    ) -> None:
        self._database = database
        self._mirror = mirror
        self._file = file
        self._workspace = workspace
        self._changed = changed
        self._observe = observe
        self._rejected = ""

    async def check(self) -> None:
        """Import what is newer than the current database; a failure is logged, and the current one stays in use."""
        try:
            if self._file:
                await self._check_file(self._file)
            if self._mirror:
                await self._check_mirror(self._mirror)
        except (ScanFailure, SwellError, OSError) as error:
            log.warning("vulnerability database not updated", error=str(error))
        state = await self._database.state()
        if state.condition is not DatabaseCondition.GOOD:
            log.warning("images cannot be scanned", reason=state.message)
        self._observe(state)

    async def _check_file(self, file: Path) -> None:
        try:
            about = file.stat()
        except FileNotFoundError:
            return
        source = f"file:{file.name}:{about.st_size}:{about.st_mtime_ns}"
        if source not in {await self._database.source(), self._rejected}:
            try:
                await self._database.import_file(file, source)
            except ScanFailure:
                self._rejected = source
                raise
            self._changed()

    async def _check_mirror(self, mirror: Mirror) -> None:
        """Download the listed database if it is newer: an old listing does not replace a newer database."""
        listing = await mirror.latest()
        state = await self._database.state()
        if state.built and listing.built <= state.built:
            return
        name = listing.url.rpartition("/")[2].partition("?")[0][-100:]
        path = self._workspace / f"download.{name}"
        try:
            await mirror.download(listing, path)
            await self._database.import_file(path, listing.checksum)
        finally:
            path.unlink(missing_ok=True)
        self._changed()


def age_of(state: DatabaseState, now: datetime | None = None) -> float:
    """The age of a database in seconds; infinite if it cannot be used."""
    if state.condition is not DatabaseCondition.GOOD or state.built is None:
        return float("inf")
    return ((now or datetime.now(UTC)) - state.built).total_seconds()
