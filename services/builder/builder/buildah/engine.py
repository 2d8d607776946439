"""The buildah engine: each build in a sandbox of its own, where its store and its files are and with which they end.

However a build ends, there is nothing to repair. Builds share only base images (`bases`), which they cannot change.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self

from msgspec import structs

from builder.adapters import proxy_environment
from builder.adapters.auth_files import AuthFiles
from builder.adapters.commands import drop, execute
from builder.adapters.disk import bounded
from builder.adapters.emulation import Emulators
from builder.adapters.workspace import disk_trouble
from builder.build import Recipe, Tell
from builder.buildah import command_lines
from builder.buildah.background_closer import Closing
from builder.buildah.base_stores import BaseImages
from builder.buildah.image_build import Making
from builder.buildah.mounts import UNKNOWN, Version, parse_version
from builder.domain.base_images import base_images
from builder.domain.failure import BuildFailure
from builder.domain.loopback import Address, allowed_registries, proxies
from builder.settings import EngineSettings, Isolation
from builder.sif.push import Sifs
from swell.containerfile import parse
from swell.disk import in_thread
from swell.errors import Unavailable
from swell.log import log
from swell.oci.digest import Digest
from swell.registry.aws import AwsLogins
from swell.registry.client import RegistryClient
from swell.store.records import Reason
from swell_sandbox import Sandbox, SandboxUnavailable, cgroups
from swell_sandbox.network import open_network, reach, resolv_conf
from swell_sandbox.network_pool import NetworkPool
from swell_sandbox.process import Tail
from swell_sandbox.sandbox import new_directory
from swell_sandbox.workspace import can_limit, clean, dispose, group_prefix, lock

_SANDBOXES = ("builds", "networks")  # folders of the workspace


class BuildahEngine:
    """Builds with this machine's buildah, runc and slirp4netns; we are root, builds are not."""

    def __init__(
        self,
        settings: EngineSettings,
        bases: BaseImages,
        credentials: AuthFiles,
        networks: NetworkPool | None,
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
        self._version = UNKNOWN
        self._emulators = Emulators(only=settings.build_platforms)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: EngineSettings,
        sifs: Sifs | None = None,
        aws: AwsLogins | None = None,
        version: Version | None = None,
        registry: RegistryClient | None = None,
    ) -> AsyncIterator[Self]:
        """Take the workspace, clean up what a former life left there, and prove that builds can run.

        *sifs* makes SIF files of what was built. Without *aws*, AWS keys open no registry. Mounts are
        checked for flaws of buildah *version*, by default that of this machine.
        *registry* is asked which base images anybody may read.

        Raises:
            Unavailable: another builder has the workspace, or the machine lacks something.
        """
        workspace = settings.workspace
        for name in ("bases", *_SANDBOXES):
            (workspace / name).mkdir(parents=True, exist_ok=True)
        with lock(workspace):
            await in_thread(clean, workspace, _SANDBOXES)
            credentials, limited = AuthFiles(settings, aws, registry=registry), can_limit(workspace)
            async with _open_networks(settings, limited=limited) as networks, Closing.open() as closing:
                bases = BaseImages(settings)
                engine = cls(settings, bases, credentials, networks, closing, limited=limited, sifs=sifs)
                await engine._prove()
                engine._version = version or engine._version
                yield engine

    async def build(self, recipe: Recipe, tell: Tell) -> Digest:
        """Build and push *recipe* within the time limit; see `Engine.build`."""
        images = base_images(recipe.containerfile, recipe.platform, options=recipe.options)
        emulator = self._emulator(recipe)
        names = (*images, recipe.target_image, recipe.cache_repository or "")
        registries = {*allowed_registries(self._settings.allowed_hosts, names), *proxies(self._settings.proxies)}
        async with self._bases.lease() as generation, self._sandbox(recipe.build_id, registries) as sandbox:
            limit = asyncio.timeout(self._settings.build_timeout.total_seconds())
            making = Making(
                settings=self._settings,
                sandbox=structs.replace(sandbox, binfmt=emulator),
                recipe=recipe,
                tell=Tail(tell),
                credentials=self._credentials,
                version=self._version,
                sifs=self._sifs,
            )
            try:
                async with limit, bounded(sandbox.directory, self._settings.build_disk):
                    return await making.image(self._bases, generation)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                message = f"The build took longer than the {self._settings.build_timeout} h that this server allows."
                raise BuildFailure(Reason.TIMED_OUT, message) from error

    async def find(self, _: Recipe) -> None:
        """Builds end with their builder."""

    def _emulator(self, recipe: Recipe) -> str:
        registration = self._emulators.registration(recipe.platform)
        if registration is None and parse(recipe.containerfile).runs_steps:
            lacking = self._emulators.lacking(recipe.platform)
            message = f"This builder cannot run steps for {recipe.platform}: it lacks {lacking}."
            raise BuildFailure(Reason.PLATFORM, message)
        return registration or ""

    @asynccontextmanager
    async def _sandbox(self, build_id: str, registries: Collection[Address] = ()) -> AsyncIterator[Sandbox]:
        """A sandbox for the length of the block; it is removed in the background after it."""
        async with self._closing.later(self._open_sandbox(build_id, registries)) as sandbox:
            yield sandbox

    @asynccontextmanager
    async def _open_sandbox(self, build_id: str, registries: Collection[Address]) -> AsyncIterator[Sandbox]:
        settings, user_id = self._settings, self._settings.first_user_id
        with disk_trouble():
            directory = new_directory(settings.workspace / "builds", f"{build_id}.")
        group = group_prefix(settings.workspace) + directory.name
        try:
            with disk_trouble():
                limits = {"memory": settings.build_memory, "pids": settings.build_pids}
                sandbox = Sandbox(
                    directory=directory,
                    user_id=user_id,
                    cgroups=cgroups.make(group, **limits) if self._limited else (),
                    environment=command_lines.environment(user_id) | proxy_environment.variables(settings),
                )
                await in_thread(
                    sandbox.prepare,
                    files=self._configuration(),
                    programs=command_lines.programs(),
                    directories=command_lines.directories(user_id),
                )
            async with self._network(registries) as network:
                yield structs.replace(sandbox, network=network)
        finally:
            await in_thread(dispose, directory, group)

    def _configuration(self) -> dict[str, str]:
        files = command_lines.configuration(self._settings.insecure_registries) | proxy_environment.files(
            self._settings
        )
        return files | {"resolv.conf": resolv_conf()} if self._networks else files

    @asynccontextmanager
    async def _network(self, registries: Collection[Address]) -> AsyncIterator[Path | None]:
        if self._networks is None:
            yield None
            return
        services = [(address.host, address.port) for address in registries]
        async with AsyncExitStack() as opened:
            with disk_trouble():
                network = await opened.enter_async_context(self._networks.take())
                namespace = await opened.enter_async_context(reach(network, services))
            yield namespace

    async def _prove(self) -> None:
        if missing := _missing(self._settings.isolation):
            raise Unavailable(f"builds cannot run here: there is no {' and no '.join(missing)}")
        said = Tail(drop)
        try:
            async with self._sandbox("trial") as sandbox:
                status = await execute(sandbox, command_lines.images(), said, credentials=b"{}")
                if not status:
                    status = await execute(sandbox, command_lines.version(), said)
                    self._version = parse_version(b"\n".join(said.lines).decode(errors="replace"))
        except (OSError, BuildFailure, SandboxUnavailable) as error:
            raise Unavailable(f"builds cannot run here: {error}") from error
        if status:
            raise Unavailable(f"builds cannot run here: {b' '.join(said.lines).decode(errors='replace')}")


@asynccontextmanager
async def _open_networks(settings: EngineSettings, *, limited: bool) -> AsyncIterator[NetworkPool | None]:
    if missing := _missing_for_networks():  # which chroot isolation can do without
        log.warning("builds are on this machine's network", missing=missing)
        yield None
        return
    opening = partial(
        open_network, settings.workspace, settings.first_user_id, settings.denied_networks, limited=limited
    )
    async with NetworkPool.open(opening) as networks:
        yield networks


def _missing(isolation: Isolation) -> list[str]:
    missing = _not_here("buildah", "setpriv", "unshare", "newuidmap")
    return missing if isolation is Isolation.CHROOT else [*missing, *_not_here("runc"), *_missing_for_networks()]


def _missing_for_networks() -> list[str]:
    device = [] if Path("/dev/net/tun").exists() else ["/dev/net/tun"]
    return [*_not_here("slirp4netns", "nsenter"), *device]


def _not_here(*programs: str) -> list[str]:
    return [program for program in programs if not shutil.which(program)]
