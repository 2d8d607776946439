"""The conda-direct engine: packages become layers on a base image. It runs no command and needs no root.

The same lock file on the same base image gives the same image, on any machine.
"""

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from aiohttp import ClientSession
from cachetools import LRUCache

from builder.adapters.disk import bounded
from builder.adapters.registry import registry_push
from builder.conda.base_image import MAX_COPIED, BaseImage, Copied
from builder.conda.cache import Folder
from builder.conda.layer_store import MadeLayers
from builder.conda.lazy_solver import LazySolver
from builder.conda.model.channels import subdir_of
from builder.conda.model.image import SCRATCH
from builder.conda.model.lock import read_lock
from builder.conda.package_build import PackageBuild, Tools
from builder.conda.packages import Packages
from builder.conda.scratch import room
from builder.conda.sources import Sources
from builder.domain.base_images import materials_of
from builder.domain.failure import BuildFailure
from builder.domain.time_limit import time_limit
from builder.engine import Note, Recipe, WriteLine, WriteStep, ignore, ignore_step
from builder.settings import CondaSettings
from swell.api.package_layers import PackageLayers
from swell.disk import in_thread
from swell.oci.digest import Digest
from swell.oci.platform import parse_platform
from swell.provenance import Evidence, Material
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Allows, Keyring, parse_auth_file
from swell.registry.credentials.user_credentials import UserCredentials
from swell.settings import SettingsInvalid
from swell.store.records import Reason


class CondaEngine:
    """Builds recipes with `packages`; `solving` resolves their versions first."""

    def __init__(
        self,
        settings: CondaSettings,
        session: ClientSession,
        aws: AwsLogins,
        packages: Packages,
        made: MadeLayers,
        solving: LazySolver,
        users: UserCredentials | None = None,
    ) -> None:
        self._settings = settings
        self._users = users
        self._session = session
        self._aws = aws
        self._packages = packages
        self._made = made
        self._rooms = settings.workspace / "conda" / "builds"
        self._copied: Copied = LRUCache(MAX_COPIED)
        self.solving = solving

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: CondaSettings,
        session: ClientSession,
        aws: AwsLogins | None = None,
        users: UserCredentials | None = None,
    ) -> AsyncIterator[Self]:
        """Open the engine; remove leftovers of earlier processes from the workspace, which only this process uses.

        Channels, base images and the registries that are pushed to are all asked through *session*. *users* has the
        credentials of users.
        """
        home = settings.workspace / "conda"
        for name in ("builds", "scratch"):
            await in_thread(shutil.rmtree, home / name, ignore_errors=True)
            (home / name).mkdir(parents=True, mode=0o700)
        sources = Sources(session, settings.conda_local_channels)
        kept = Folder(home / "packages", settings.conda_package_cache)
        packages = Packages(sources, kept, limit=settings.conda_package_limit, timeout=settings.build_timeout)
        made = MadeLayers(Folder(home / "layers", settings.conda_layer_cache))
        lists = Folder(home / "repodata", settings.conda_repodata_cache)
        solving = LazySolver(settings, sources, lists, home / "scratch")
        yield cls(settings, session, aws or AwsLogins(session, settings), packages, made, solving, users)

    async def find(self, _: Recipe) -> None:
        """Return None: builds of this engine end with the builder's process."""

    async def build(
        self, recipe: Recipe, write_line: WriteLine, _step: WriteStep = ignore_step, note: Note = ignore, /
    ) -> Digest:
        """Build and push *recipe* within the time limit; see `Engine.build`."""
        if recipe.packages is None:
            raise BuildFailure(Reason.ENGINE, "There are no packages to be put into an image.")
        limit, own = time_limit(self._settings.build_timeout, write_line), room(self._rooms, recipe.build_id)
        async with limit, own as folder, bounded(folder, self._settings.build_disk):
            package_build = PackageBuild(self._tools(recipe), recipe, recipe.packages, folder, write_line)
            digest = await package_build.run()
        note(Evidence(materials=_materials(recipe.packages, recipe.platform, package_build.licenses)))
        return digest

    def _tools(self, recipe: Recipe) -> Tools:
        rules = self._settings.credential_rules
        pull = self._client(self._settings.pull_auth_file, "pull", rules.may_read).acting_for(recipe.principal)
        pushing = self._client(self._settings.push_auth_file, "pull,push", rules.may_push)
        push = registry_push(pushing.acting_for(recipe.push_principal))
        base = BaseImage(pull, push, recipe.principal, self._copied)
        return Tools(packages=self._packages, made=self._made, base=base, push=push, settings=self._settings)

    def _client(self, file: Path | None, actions: str, allows: Allows) -> RegistryClient:
        """Return a client with the current credentials in *file*, as far as *allows* permits them."""
        try:
            users = self._users
            keyring = parse_auth_file(file.read_bytes(), allows, users) if file else Keyring(users=users)
        except (OSError, SettingsInvalid) as error:
            raise BuildFailure(Reason.ENGINE, "The builder cannot read its credentials for registries.") from error
        insecure = frozenset(self._settings.insecure_registries)
        return RegistryClient(self._session, keyring, insecure, actions=actions, aws=self._aws)


def _materials(packages: PackageLayers, platform: str, licenses: Mapping[str, str]) -> tuple[Material, ...]:
    """Return the base image, and each package with the sha256 that was verified, and its licence by its URL."""
    base = () if packages.base_image.lower() == SCRATCH else materials_of([packages.base_image])
    locked = read_lock(packages.lock, subdir_of(parse_platform(platform)))
    return (*base, *(Material(each.url, f"sha256:{each.sha256}", licenses.get(each.url)) for each in locked))
