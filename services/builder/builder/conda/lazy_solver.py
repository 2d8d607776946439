"""Loads the rattler solver at the first request; it takes 9 MB of memory."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.conda.cache import Folder
from builder.conda.model.channels import address_of
from builder.conda.sources import Sources
from builder.domain.search import FoundPackage
from builder.settings import CondaSettings
from builder.solve import EnvironmentSolver
from swell.disk import in_thread
from swell.oci.platform import Platform

if TYPE_CHECKING:
    from builder.conda.catalogue import Catalogue


class LazySolver:
    def __init__(self, settings: CondaSettings, sources: Sources, lists: Folder, scratch: Path) -> None:
        """*lists* caches the channels' lists of packages; *scratch* is a folder for temporary files."""
        self._settings = settings
        self._sources = sources
        self._lists = lists
        self._scratch = scratch
        self._opening = asyncio.Lock()
        self._opened: tuple[EnvironmentSolver, Catalogue] | None = None

    async def solve(self, specs: Sequence[str], channels: Sequence[str], lock: str, platform: Platform) -> str:
        """See `Solving.solve`."""
        solver, _ = await self._parts()
        return await solver.solve(specs, channels, lock, platform)

    async def search(self, text: str, platform: Platform) -> list[FoundPackage]:
        """See `Catalogue.search`. An empty *text* finds none, without reading a channel."""
        if not text.strip():
            return []
        _, catalogue = await self._parts()
        return await catalogue.search(text, platform)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that are searched."""
        return self._settings.conda_catalogue_channels

    async def _parts(self) -> "tuple[EnvironmentSolver, Catalogue]":
        async with self._opening:
            if self._opened is None:
                self._opened = await in_thread(self._open)
            return self._opened

    def _open(self) -> "tuple[EnvironmentSolver, Catalogue]":
        from builder.conda.catalogue import Catalogue  # noqa: PLC0415 (rattler, 9 MB)
        from builder.conda.repodata import Repodata  # noqa: PLC0415 (rattler, as above)
        from builder.conda.solver import RattlerSolver, usual_channels  # noqa: PLC0415

        settings = self._settings
        names = settings.conda_channels_url or usual_channels()
        urls = [address_of(channel, names) for channel in self.channels]
        large = (names, *settings.conda_large_channels, *urls)
        repodata = Repodata(self._sources, self._lists, self._scratch, settings.conda_repodata_age, large)
        solver = RattlerSolver(repodata, settings.conda_glibc, settings.solve_timeout)
        catalogue = Catalogue(repodata, self._sources, self.channels, names)
        return EnvironmentSolver(solver, names, settings.solve_timeout), catalogue
