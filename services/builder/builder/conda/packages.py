"""Fetch packages from the local cache or their channels; each is verified before it is read."""

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

_CONCURRENT = 6
_ATTEMPTS = 5


class Packages:
    """A cache of packages by sha256; concurrent builds share the fetch of a package."""

    def __init__(self, sources: Sources, folder: Folder, *, limit: int, timeout: timedelta) -> None:
        """*limit* is the maximum size of an archive in bytes, *timeout* the maximum time to fetch it."""
        self._sources = sources
        self._folder = folder
        self._limit = limit
        self._timeout = timeout.total_seconds()
        self._fetching: SingleFlight[LockedPackage, bool] = SingleFlight(kept=False)
        self._places = asyncio.Semaphore(_CONCURRENT)

    async def fetch(self, package: LockedPackage, to: Path) -> bool:
        """Link the archive of *package* to *to*; return whether it was fetched now.

        Raises:
            BuildFailure: the channel has it not, or has other bytes.
            OSError: the disk does not take it.
        """
        for _ in range(_ATTEMPTS):
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
        """Fetch *package* for all waiting builds; link it to *to* for the first one before it can be evicted."""
        async with self._places:
            if await in_thread(self._take, package.sha256, to):
                return False  # another build has just fetched it
            with self._folder.begin() as file:
                try:
                    async with asyncio.timeout(self._timeout):
                        fetched = await self._sources.fetch(package.url, file, limit=self._limit)
                except SwellError as error:
                    raise BuildFailure(Reason.PACKAGE, f"{package.file} cannot be fetched: {error}.") from error
                except TimeoutError as error:
                    raise BuildFailure(Reason.PACKAGE, f"{package.url} could not be fetched in time.") from error
                if fetched is None or fetched.sha256 != package.sha256:
                    message = f"{package.url} does not match the sha256 of its channel; it was not used."
                    raise BuildFailure(Reason.PACKAGE, message)
                with suppress(FileNotFoundError):  # the build that started the fetch was cancelled
                    to.hardlink_to(file.name)
                await in_thread(self._folder.put, package.sha256, Path(file.name))
        return True
