"""The conda-direct engine: packages become layers on a base image. Nothing is run, and nobody needs to be root.

The same lock file on the same base image gives the same image, on any machine.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

from aiohttp import ClientSession

from builder.adapters.base_image import BaseImage
from builder.adapters.conda_build import PackageBuild, Tools
from builder.adapters.conda_cache import Folder
from builder.adapters.conda_made import MadeLayers
from builder.adapters.conda_packages import Packages
from builder.adapters.conda_repodata import Repodata
from builder.adapters.conda_room import in_thread, room
from builder.adapters.conda_solver import RattlerSolver
from builder.adapters.conda_sources import Sources
from builder.adapters.registry import RegistryPush
from builder.build import Recipe, Tell
from builder.domain.failure import BuildFailure
from builder.settings import CondaSettings
from builder.solve import Solving
from swell.oci.digest import Digest
from swell.registry.client import RegistryClient
from swell.store.records import Reason


class CondaEngine:
    """Builds recipes that have `packages`; `solving` says beforehand which ones those are."""

    def __init__(self, settings: CondaSettings, tools: Tools, solving: Solving) -> None:
        self._settings = settings
        self._tools = tools
        self._rooms = settings.workspace / "conda" / "builds"
        self.solving = solving

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: CondaSettings, session: ClientSession, pull: RegistryClient, push: RegistryPush
    ) -> AsyncIterator[Self]:
        """Clean up what a former life left in the workspace, which is this process's alone.

        Channels are read through *session*, base images with the credentials of *pull*.
        """
        home = settings.workspace / "conda"
        for name in ("builds", "scratch"):
            await in_thread(partial(shutil.rmtree, home / name, ignore_errors=True))
            (home / name).mkdir(parents=True, mode=0o700)
        sources = Sources(session, settings.conda_local_channels)
        kept = Folder(home / "packages", settings.conda_package_cache)
        tools = Tools(
            packages=Packages(sources, kept, limit=settings.conda_package_limit, patience=settings.build_timeout),
            made=MadeLayers(Folder(home / "layers", settings.conda_layer_cache)),
            base=BaseImage(pull, push),
            push=push,
            settings=settings,
        )
        lists = Folder(home / "repodata", settings.conda_repodata_cache)
        repodata = Repodata(sources, lists, home / "scratch", settings.conda_repodata_age)
        solver = RattlerSolver(repodata, settings.conda_glibc, settings.solve_timeout)
        yield cls(settings, tools, Solving(solver, settings.conda_channels_url, settings.solve_timeout))

    async def build(self, recipe: Recipe, tell: Tell) -> Digest:
        """Build and push *recipe* within the time limit; see `Engine.build`."""
        if recipe.packages is None:
            raise BuildFailure(Reason.ENGINE, "There are no packages to be put into an image.")
        limit = asyncio.timeout(self._settings.build_timeout.total_seconds())
        try:
            async with limit, room(self._rooms, recipe.build_id) as folder:
                return await PackageBuild(self._tools, recipe, recipe.packages, folder, tell).run()
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"The build took longer than the {self._settings.build_timeout} h that this server allows."
            raise BuildFailure(Reason.TIMED_OUT, message) from error
