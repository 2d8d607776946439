"""The buildah engine: each build has a sandbox with its own store and files, which are removed with it.

Nothing has to be repaired after a crash. Builds share only base images (`base_stores`), which they cannot change.
"""

import os
import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Self

from msgspec import structs

from builder.adapters import proxy_environment
from builder.adapters.commands import drop, execute
from builder.adapters.disk import bounded
from builder.adapters.emulation import Emulators
from builder.adapters.inputs.auth_files import AuthFiles
from builder.adapters.inputs.build_context import add
from builder.adapters.workspace import as_build_failure
from builder.buildah import command_lines
from builder.buildah.background_closer import BackgroundCloser
from builder.buildah.base_stores import BaseImages
from builder.buildah.image_build import ImageBuild
from builder.buildah.mounts import UNKNOWN, Version, parse_version
from builder.domain import trial
from builder.domain.base_images import base_images, materials_of
from builder.domain.failure import BuildFailure
from builder.domain.loopback import Address, allowed_registries, proxies
from builder.domain.time_limit import time_limit
from builder.engine import Note, Recipe, WriteLine, WriteStep, ignore, ignore_step
from builder.settings import EngineSettings, Isolation
from builder.sif.push import Sifs
from builder.unpushed import UnpushedImages
from swell.api.containers import BuildOptions
from swell.containerfile import parse
from swell.disk import in_thread
from swell.errors import Unavailable
from swell.log import log
from swell.oci.digest import Digest
from swell.provenance import Evidence
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins
from swell.store.records import Reason
from swell_sandbox import Sandbox, SandboxUnavailable, cgroups
from swell_sandbox.network import open_network, reach, resolv_conf
from swell_sandbox.network_pool import NetworkPool
from swell_sandbox.process import Tail
from swell_sandbox.sandbox import new_directory
from swell_sandbox.workspace import can_limit, clean, dispose, group_prefix, lock

_SANDBOXES = ("builds", "networks")  # folders of the workspace


class BuildahEngine:
    """Builds with this machine's buildah, runc and slirp4netns. The builder is root, builds are unprivileged users."""

    def __init__(
        self,
        settings: EngineSettings,
        bases: BaseImages,
        credentials: AuthFiles,
        networks: NetworkPool | None,
        closer: BackgroundCloser,
        *,
        limited: bool,
        sifs: Sifs | None = None,
        unpushed: UnpushedImages | None = None,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._sifs = sifs
        self._unpushed = unpushed
        self._bases = bases
        self._networks = networks
        self._closer = closer
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
        unpushed: UnpushedImages | None = None,
    ) -> AsyncIterator[Self]:
        """Lock the workspace, remove the files of an earlier process, and run a trial command in a sandbox.

        *sifs* converts images into SIF files. Without *aws*, AWS keys are not exchanged for logins. Mounts are
        checked for flaws of buildah *version*, by default this machine's. *registry*, a client without credentials,
        finds out which base images are public. *unpushed* stores images while their registry fails.

        Raises:
            Unavailable: another builder uses the workspace, or a program or kernel feature is missing.
        """
        workspace = settings.workspace
        for name in ("bases", *_SANDBOXES):
            (workspace / name).mkdir(parents=True, exist_ok=True)
        with lock(workspace):
            await in_thread(clean, workspace, _SANDBOXES)
            credentials, limited = AuthFiles(settings, aws, registry=registry), can_limit(workspace)
            async with _open_networks(settings, limited=limited) as networks, BackgroundCloser.open() as closer:
                bases = BaseImages(settings)
                engine = cls(
                    settings, bases, credentials, networks, closer, limited=limited, sifs=sifs, unpushed=unpushed
                )
                await engine._run_trial()
                engine._version = version or engine._version
                yield engine

    async def build(
        self, recipe: Recipe, write_line: WriteLine, _step: WriteStep = ignore_step, note: Note = ignore, /
    ) -> Digest:
        """Build and push *recipe* within the time limit; see `Engine.build`."""
        if recipe.secrets:
            raise BuildFailure(Reason.ENGINE, "buildSecrets need BuildKit, and this builder uses buildah.")
        emulator = self._emulator(recipe)
        images = base_images(recipe.containerfile, recipe.platform, options=recipe.options)
        names = (*images, recipe.target_image, recipe.cache_repository or "")
        registries = {*allowed_registries(self._settings.allowed_hosts, names), *proxies(self._settings.proxies)}
        async with self._bases.lease() as generation, self._sandbox(recipe.build_id, registries) as sandbox:
            build = ImageBuild(
                settings=self._settings,
                sandbox=structs.replace(sandbox, binfmt=emulator),
                recipe=recipe,
                output=Tail(write_line),
                credentials=self._credentials,
                version=self._version,
                sifs=self._sifs,
                unpushed=self._unpushed,
            )
            limit = time_limit(self._settings.build_timeout, build.output)
            async with limit, bounded(sandbox.directory, self._settings.build_disk, sandbox.cgroups):
                digest = await build.run(self._bases, generation)
        note(Evidence(materials=materials_of(images)))
        return digest

    async def run_step(self) -> None:
        """Run one build step that does nothing, in a sandbox of its own; see `ContainerEngine.run_step`."""
        if (program := trial.program(os.uname().machine)) is None:
            return
        output, platform = Tail(drop), trial.PLATFORMS[os.uname().machine]
        async with self._sandbox("trial") as sandbox:
            with as_build_failure():
                (sandbox.directory / "Containerfile").write_text(trial.CONTAINERFILE)
                add(sandbox.work / "context" / trial.PROGRAM, BytesIO(program), owner=sandbox.user_id)
            command = command_lines.build(platform, self._settings.isolation, BuildOptions())
            if await execute(sandbox, command, output, credentials=b"{}"):
                raise BuildFailure(Reason.ENGINE, b" ".join(output.lines).decode(errors="replace")[-300:])

    async def find(self, _: Recipe) -> None:
        """Return None: builds end with their builder."""

    def _emulator(self, recipe: Recipe) -> str:
        registration = self._emulators.registration(recipe.platform)
        if registration is None and parse(recipe.containerfile).runs_steps:
            missing = self._emulators.missing(recipe.platform)
            message = f"This builder cannot run steps for {recipe.platform}: it lacks {missing}."
            raise BuildFailure(Reason.PLATFORM, message)
        return registration or ""

    @asynccontextmanager
    async def _sandbox(self, build_id: str, registries: Collection[Address] = ()) -> AsyncIterator[Sandbox]:
        """Yield a sandbox, which is removed in the background after the block."""
        async with self._closer.close_later(self._open_sandbox(build_id, registries)) as sandbox:
            yield sandbox

    @asynccontextmanager
    async def _open_sandbox(self, build_id: str, registries: Collection[Address]) -> AsyncIterator[Sandbox]:
        settings, user_id = self._settings, self._settings.first_user_id
        with as_build_failure():
            directory = new_directory(settings.workspace / "builds", f"{build_id}.")
        group = group_prefix(settings.workspace) + directory.name
        try:
            with as_build_failure():
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
            with as_build_failure():
                network = await opened.enter_async_context(self._networks.take())
                namespace = await opened.enter_async_context(reach(network, services))
            yield namespace

    async def _run_trial(self) -> None:
        if missing := _missing(self._settings.isolation):
            raise Unavailable(f"builds cannot run here: missing: {', '.join(missing)}")
        output = Tail(drop)
        try:
            async with self._sandbox("trial") as sandbox:
                status = await execute(sandbox, command_lines.images(), output, credentials=b"{}")
                if not status:
                    status = await execute(sandbox, command_lines.version(), output)
                    self._version = parse_version(b"\n".join(output.lines).decode(errors="replace"))
        except (OSError, BuildFailure, SandboxUnavailable) as error:
            raise Unavailable(f"builds cannot run here: {error}") from error
        if status:
            raise Unavailable(f"builds cannot run here: {b' '.join(output.lines).decode(errors='replace')}")


@asynccontextmanager
async def _open_networks(settings: EngineSettings, *, limited: bool) -> AsyncIterator[NetworkPool | None]:
    if missing := _missing_for_networks():  # chroot isolation works without them
        log.warning("builds use the network of this machine", missing=missing)
        yield None
        return
    open_one = partial(
        open_network, settings.workspace, settings.first_user_id, settings.denied_networks, limited=limited
    )
    async with NetworkPool.open(open_one) as networks:
        yield networks


def _missing(isolation: Isolation) -> list[str]:
    missing = _missing_programs("buildah", "setpriv", "unshare", "newuidmap")
    return (
        missing if isolation is Isolation.CHROOT else [*missing, *_missing_programs("runc"), *_missing_for_networks()]
    )


def _missing_for_networks() -> list[str]:
    device = [] if Path("/dev/net/tun").exists() else ["/dev/net/tun"]
    return [*_missing_programs("slirp4netns", "nsenter"), *device]


def _missing_programs(*programs: str) -> list[str]:
    return [program for program in programs if not shutil.which(program)]
