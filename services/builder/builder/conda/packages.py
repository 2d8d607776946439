"""Fetching packages: from this disk or from their channels, and either way verified before anything reads them."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from builder.conda.cache import Folder
from builder.conda.model.lock import LockedPackage
from builder.conda.sources import Sources
from builder.domain.failure import BuildFailure
from swell.concurrency.single_flight import SingleFlight
from swell.disk import digest_of_file, in_thread
from swell.errors import SwellError
from swell.store.records import Reason

_AT_ONCE = 6
_TRIES = 5


class Packages:
    """The packages of channels, by their sha256; two builds that want the same fetch it once."""

    def __init__(self, sources: Sources, folder: Folder, *, limit: int, patience: timedelta) -> None:
        """An archive has at most *limit* bytes, and must be there within *patience*."""
        self._sources = sources
        self._folder = folder
        self._limit = limit
        self._patience = patience.total_seconds()
        self._fetching: SingleFlight[LockedPackage, bool] = SingleFlight(kept=False)
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, package: LockedPackage, to: Path) -> bool:
        """Have the archive of *package* at *to*; whether it had to be fetched.

        Raises:
            BuildFailure: the channel has it not, or has other bytes.
            OSError: the disk does not take it.
        """
        for _ in range(_TRIES):
            if await in_thread(self._take, package.sha256, to):
                return False
            fetched = await self._fetching.run(package, lambda: self._fetch(package, to))
            if to.exists():
                return fetched
        raise BuildFailure(Reason.DISK, "The builder's disk does not keep the packages that it fetches.")

    def _take(self, sha256: str, to: Path) -> bool:
        if not self._folder.link(sha256, to):
            return False
        if digest_of_file(to) == f"sha256:{sha256}":
            return True
        to.unlink()
        self._folder.drop(sha256)
        return False

    async def _fetch(self, package: LockedPackage, to: Path) -> bool:
        """Fetch *package* for all who wait, and for the first of them to where it is wanted, before it can go again."""
        async with self._places:
            if await in_thread(self._take, package.sha256, to):
                return False  # somebody else's has just come
            with self._folder.begin() as file:
                try:
                    async with asyncio.timeout(self._patience):
                        fetched = await self._sources.fetch(package.url, file, limit=self._limit)
                except SwellError as error:
                    raise BuildFailure(Reason.PACKAGE, f"{package.file} cannot be had: {error}.") from error
                except TimeoutError as error:
                    raise BuildFailure(Reason.PACKAGE, f"{package.url} takes too long to be fetched.") from error
                if fetched is None or fetched.sha256 != package.sha256:
                    message = f"{package.url} has other bytes than its channel says; nothing of it was used."
                    raise BuildFailure(Reason.PACKAGE, message)
                with suppress(FileNotFoundError):  # whoever began has left
                    to.hardlink_to(file.name)
                await in_thread(self._folder.put, package.sha256, Path(file.name))
        return True
