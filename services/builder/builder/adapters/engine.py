"""The buildah engine: each build in a room of its own, where its store and its files are and with which they end.

However a build ends, there is nothing to repair. Builds share only base images (`bases`), which they cannot change.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Self

from msgspec import structs

from builder.adapters import buildah, cgroups
from builder.adapters.bases import BaseImages
from builder.adapters.context import add, unpack
from builder.adapters.network import open_network, resolv_conf
from builder.adapters.process import Tail, run
from builder.adapters.room import Room
from builder.adapters.workspace import can_limit, clean, disk_trouble, finish, group_prefix, only_one
from builder.build import Recipe, Tell
from builder.domain.containerfile import base_images
from builder.domain.failure import BuildFailure, diagnose_build, diagnose_push
from builder.domain.loopback import Address, allowed_registries
from builder.settings import EngineSettings, Isolation
from swell.errors import Unavailable
from swell.oci.digest import Digest
from swell.store.records import Reason


class BuildahEngine:
    """Builds with this machine's buildah, runc and slirp4netns; we are root, builds are not."""

    def __init__(self, settings: EngineSettings, bases: BaseImages, *, limited: bool) -> None:
        self._settings = settings
        self._bases = bases
        self._limited = limited
        self._has_networks = not _missing(Isolation.OCI)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: EngineSettings) -> AsyncIterator[Self]:
        """Take the workspace, clean up what a former life left there, and prove that builds can run.

        Raises:
            Unavailable: another builder has the workspace, or the machine lacks something.
        """
        workspace = settings.workspace
        for name in ("builds", "bases"):
            (workspace / name).mkdir(parents=True, exist_ok=True)
        with only_one(workspace):
            await finish(partial(clean, workspace))
            engine = cls(settings, BaseImages(settings), limited=can_limit(workspace))
            await engine._prove()
            yield engine

    async def build(self, recipe: Recipe, tell: Tell) -> Digest:
        """Build and push *recipe* within the time limit; see `Engine.build`."""
        names = (*base_images(recipe.containerfile), recipe.target_image, recipe.cache_repository or "")
        registries = allowed_registries(self._settings.allowed_hosts, names)
        async with self._room(recipe.build_id, registries) as room:
            limit = asyncio.timeout(self._settings.build_timeout.total_seconds())
            try:
                async with limit:
                    return await self._build_in(room, recipe, Tail(tell))
            except TimeoutError as error:
                if not limit.expired():
                    raise
                message = f"The build took longer than the {self._settings.build_timeout} h that this server allows."
                raise BuildFailure(Reason.TIMED_OUT, message) from error

    async def _build_in(self, room: Room, recipe: Recipe, tell: Tail) -> Digest:
        await finish(partial(self._prepare, room, recipe))
        for image in base_images(recipe.containerfile):
            await self._bases.fetch(room.bases, (image, recipe.platform), partial(self._pull, room, image, recipe))
        command = buildah.build(recipe.platform, self._settings.isolation)
        if status := await self._run(room, command, self._settings.pull_auth_file, tell):
            raise diagnose_build(status, tell.lines)
        tell.lines.clear()
        command = buildah.push(room.read_digest("image-id"), recipe.target_image)
        if status := await self._run(room, command, self._settings.push_auth_file, tell):
            raise diagnose_push(status, tell.lines)
        return room.read_digest("digest")

    async def _pull(self, room: Room, image: str, recipe: Recipe) -> bool:
        # Whatever goes wrong here goes wrong again in the build, which says so in the log.
        command, auth = buildah.pull(image, recipe.platform), self._settings.pull_auth_file
        return await self._run(room, command, auth, _say_nothing, bases_mode="rw") == 0

    async def _run(
        self, room: Room, command: Sequence[str], auth: Path | None, tell: Tell, bases_mode: str = "ro"
    ) -> int:
        with disk_trouble():
            room.lend_credentials(auth)
        environment = room.environment(bases_mode=bases_mode)
        return await run(command, environment=environment, directory=room.path, tell=tell, network=room.network)

    @asynccontextmanager
    async def _room(self, build_id: str, registries: Sequence[Address] = ()) -> AsyncIterator[Room]:
        settings = self._settings
        async with self._bases.lease() as bases:
            with disk_trouble():
                path = Path(tempfile.mkdtemp(prefix=f"{build_id}.", dir=settings.workspace / "builds"))
            room = Room(path=path, workspace=settings.workspace, bases=bases, user_id=settings.first_user_id)
            group = group_prefix(settings.workspace) + path.name
            try:
                if self._limited:
                    with disk_trouble():
                        made = cgroups.make(group, memory=settings.build_memory, pids=settings.build_pids)
                    room = structs.replace(room, groups=made)
                with disk_trouble():
                    await finish(partial(room.furnish, self._configuration()))
                async with self._network(room, registries) as network:
                    yield structs.replace(room, network=network)
            finally:
                await finish(partial(shutil.rmtree, path, ignore_errors=True))
                cgroups.remove(group)

    def _configuration(self) -> dict[str, str]:
        files = buildah.configuration(self._settings.insecure_registries)
        return files | {"resolv.conf": resolv_conf()} if self._has_networks else files

    @asynccontextmanager
    async def _network(self, room: Room, registries: Sequence[Address]) -> AsyncIterator[Path | None]:
        if not self._has_networks:
            yield None
            return
        async with open_network(room, registries) as network:
            yield network

    def _prepare(self, room: Room, recipe: Recipe) -> None:
        context = room.work / "context"
        with disk_trouble():
            (room.path / "Containerfile").write_text(recipe.containerfile)
            if recipe.context:
                limit = self._settings.context_limit
                unpack(recipe.context, context, limit=limit, owner=room.user_id)
            if recipe.environment is not None:
                add(context / "conda.yml", BytesIO(recipe.environment.encode()), owner=room.user_id)
            for name, path in recipe.files.items():
                with path.open("rb") as source:
                    add(context / name, source, owner=room.user_id)

    async def _prove(self) -> None:
        if missing := _missing(self._settings.isolation):
            raise Unavailable(f"builds cannot run here: there is no {' and no '.join(missing)}")
        said = Tail(_say_nothing)
        try:
            async with self._room("trial") as room:
                status = await self._run(room, buildah.images(), None, said)
        except (OSError, BuildFailure) as error:
            raise Unavailable(f"builds cannot run here: {error}") from error
        if status:
            raise Unavailable(f"builds cannot run here: {b' '.join(said.lines).decode(errors='replace')}")


async def _say_nothing(line: bytes) -> None:
    """Tell nobody."""


def _missing(isolation: Isolation) -> list[str]:
    programs = ["buildah", "setpriv", "unshare", "newuidmap"]
    if isolation is Isolation.CHROOT:
        return [program for program in programs if not shutil.which(program)]
    needed = [program for program in (*programs, "runc", "slirp4netns") if not shutil.which(program)]
    return needed if Path("/dev/net/tun").exists() else [*needed, "/dev/net/tun"]
