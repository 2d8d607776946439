"""Loads the rattler solver at the first request; it takes 9 MB of memory."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from builder.conda.cache import Folder
from builder.conda.sources import Sources
from builder.settings import CondaSettings
from builder.solve import EnvironmentSolver
from swell.disk import in_thread
from swell.oci.platform import Platform


class LazySolver:
    def __init__(self, settings: CondaSettings, sources: Sources, lists: Folder, scratch: Path) -> None:
        """*lists* caches the channels' lists of packages; *scratch* is a folder for temporary files."""
        self._settings = settings
        self._sources = sources
        self._lists = lists
        self._scratch = scratch
        self._opening = asyncio.Lock()
        self._opened: EnvironmentSolver | None = None

    async def solve(self, specs: Sequence[str], channels: Sequence[str], lock: str, platform: Platform) -> str:
        """See `Solving.solve`."""
        async with self._opening:
            if self._opened is None:
                self._opened = await in_thread(self._open)
        return await self._opened.solve(specs, channels, lock, platform)

    def _open(self) -> EnvironmentSolver:
        from builder.conda.repodata import Repodata  # noqa: PLC0415 (rattler, as above)
        from builder.conda.solver import RattlerSolver, usual_channels  # noqa: PLC0415

        settings = self._settings
        repodata = Repodata(self._sources, self._lists, self._scratch, settings.conda_repodata_age)
        solver = RattlerSolver(repodata, settings.conda_glibc, settings.solve_timeout)
        return EnvironmentSolver(solver, settings.conda_channels_url or usual_channels(), settings.solve_timeout)
