"""The buildah engine: each build in a room of its own, where its store and its files are and with which they end.

However a build ends, there is nothing to repair. Builds share only base images (`bases`), which they cannot change.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self

from msgspec import structs

from builder.adapters import buildah, cgroups, outward
from builder.adapters.auth_files import AuthFiles
from builder.adapters.bases import BaseImages
from builder.adapters.closing import Closing
from builder.adapters.disk import bounded
from builder.adapters.emulation import Emulators
from builder.adapters.making import Making, execute, say_nothing
from builder.adapters.network import open_network, reaching, resolv_conf
from builder.adapters.networks import Networks
from builder.adapters.process import Tail
from builder.adapters.room import Room
from builder.adapters.sif import Sifs
from builder.adapters.workspace import can_limit, clean, disk_trouble, group_prefix, leave, only_one
from builder.build import Recipe, Tell
from builder.domain.containerfile import base_images
from builder.domain.failure import BuildFailure
from builder.domain.loopback import Address, allowed_registries, proxies
from builder.settings import EngineSettings, Isolation
from swell.disk import in_thread
from swell.errors import Unavailable
from swell.log import log
from swell.oci.digest import Digest
from swell.registry.aws import AwsLogins
from swell.steps import runs_steps
from swell.store.records import Reason


class BuildahEngine:
    """Builds with this machine's buildah, runc and slirp4netns; we are root, builds are not."""

    def __init__(
        self,
        settings: EngineSettings,
        bases: BaseImages,
        credentials: AuthFiles,
        networks: Networks | None,
        closing: Closing,
        *,
        limited: bool,
        sifs: Sifs | None = None,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._sifs = sifs
        self._bases = bases
        self._networks = networks
        self._closing = closing
        self._limited = limited
        self._emulators = Emulators(only=settings.build_platforms)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: EngineSettings, sifs: Sifs | None = None, aws: AwsLogins | None = None
    ) -> AsyncIterator[Self]:
        """Take the workspace, clean up what a former life left there, and prove that builds can run.

        *sifs* makes SIF files of what was built. Without *aws*, AWS keys open no registry.

        Raises:
            Unavailable: another builder has the workspace, or the machine lacks something.
        """
        workspace = settings.workspace
        for name in ("builds", "bases", "networks"):
            (workspace / name).mkdir(parents=True, exist_ok=True)
        with only_one(workspace):
            await in_thread(clean, workspace)
            credentials, limited = AuthFiles(settings, aws), can_limit(workspace)
            async with _open_networks(settings, limited=limited) as networks, Closing.open() as closing:
                bases = BaseImages(settings)
                engine = cls(settings, bases, credentials, networks, closing, limited=limited, sifs=sifs)
                await engine._prove()
                yield engine

    async def build(self, recipe: Recipe, tell: Tell) -> Digest:
        """Build and push *recipe* within the time limit; see `Engine.build`."""
        emulator = self._emulator(recipe)
        names = (*base_images(recipe.containerfile), recipe.target_image, recipe.cache_repository or "")
        registries = {*allowed_registries(self._settings.allowed_hosts, names), *proxies(self._settings.proxies)}
        async with self._closing.later(self._room(recipe.build_id, registries)) as room:
            limit = asyncio.timeout(self._settings.build_timeout.total_seconds())
            making = Making(
                settings=self._settings,
                room=structs.replace(room, emulator=emulator),
                recipe=recipe,
                tell=Tail(tell),
                credentials=self._credentials,
                sifs=self._sifs,
            )
            try:
                async with limit, bounded(room.path, self._settings.build_disk):
                    return await making.image(self._bases)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                message = f"The build took longer than the {self._settings.build_timeout} h that this server allows."
                raise BuildFailure(Reason.TIMED_OUT, message) from error

    def _emulator(self, recipe: Recipe) -> str:
        registration = self._emulators.registration(recipe.platform)
        if registration is None and runs_steps(recipe.containerfile):
            lacking = self._emulators.lacking(recipe.platform)
            message = f"This builder cannot run steps for {recipe.platform}: it lacks {lacking}."
            raise BuildFailure(Reason.PLATFORM, message)
        return registration or ""

    @asynccontextmanager
    async def _room(self, build_id: str, registries: Collection[Address] = ()) -> AsyncIterator[Room]:
        settings = self._settings
        async with self._bases.lease() as bases:
            with disk_trouble():
                path = Path(tempfile.mkdtemp(prefix=f"{build_id}.", dir=settings.workspace / "builds"))
            room = Room(
                path=path,
                workspace=settings.workspace,
                bases=bases,
                user_id=settings.first_user_id,
                outward=outward.variables(settings),
            )
            group = group_prefix(settings.workspace) + path.name
            try:
                if self._limited:
                    with disk_trouble():
                        made = cgroups.make(group, memory=settings.build_memory, pids=settings.build_pids)
                    room = structs.replace(room, groups=made)
                with disk_trouble():
                    await in_thread(room.furnish, self._configuration())
                async with self._network(registries) as network:
                    yield structs.replace(room, network=network)
            finally:
                await in_thread(leave, path, group)

    def _configuration(self) -> dict[str, str]:
        files = buildah.configuration(self._settings.insecure_registries) | outward.files(self._settings)
        return files | {"resolv.conf": resolv_conf()} if self._networks else files

    @asynccontextmanager
    async def _network(self, registries: Collection[Address]) -> AsyncIterator[Path | None]:
        if self._networks is None:
            yield None
            return
        async with self._networks.take() as network, reaching(network, registries) as namespace:
            yield namespace

    async def _prove(self) -> None:
        if missing := _missing(self._settings.isolation):
            raise Unavailable(f"builds cannot run here: there is no {' and no '.join(missing)}")
        said = Tail(say_nothing)
        try:
            async with self._closing.later(self._room("trial")) as room:
                status = await execute(room, buildah.images(), b"{}", said)
        except (OSError, BuildFailure) as error:
            raise Unavailable(f"builds cannot run here: {error}") from error
        if status:
            raise Unavailable(f"builds cannot run here: {b' '.join(said.lines).decode(errors='replace')}")


@asynccontextmanager
async def _open_networks(settings: EngineSettings, *, limited: bool) -> AsyncIterator[Networks | None]:
    if missing := _missing_for_networks():  # which chroot isolation can do without
        log.warning("builds are on this machine's network", missing=missing)
        yield None
        return
    opening = partial(
        open_network, settings.workspace, settings.first_user_id, settings.denied_networks, limited=limited
    )
    async with Networks.open(opening) as networks:
        yield networks


def _missing(isolation: Isolation) -> list[str]:
    missing = _not_here("buildah", "setpriv", "unshare", "newuidmap")
    return missing if isolation is Isolation.CHROOT else [*missing, *_not_here("runc"), *_missing_for_networks()]


def _missing_for_networks() -> list[str]:
    device = [] if Path("/dev/net/tun").exists() else ["/dev/net/tun"]
    return [*_not_here("slirp4netns", "nsenter"), *device]


def _not_here(*programs: str) -> list[str]:
    return [program for program in programs if not shutil.which(program)]
