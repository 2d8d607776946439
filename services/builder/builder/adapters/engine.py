"""The buildah engine: each build in a room of its own, where its store and its files are and with which they end.

However a build ends, there is nothing to repair. Builds share only base images (`bases`), which they cannot change.
"""

import asyncio
import errno
import fcntl
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Self

from msgspec import structs

from builder.adapters import buildah, cgroups
from builder.adapters.bases import BaseImages
from builder.adapters.context import add, unpack
from builder.adapters.process import Tail, run
from builder.adapters.room import Room
from builder.adapters.sif import Sifs
from builder.build import Recipe, Tell
from builder.domain.containerfile import base_images
from builder.domain.failure import BuildFailure, diagnose_build, diagnose_push
from builder.settings import EngineSettings, Isolation
from swell.errors import Unavailable
from swell.jobs.messages import POST_FILE
from swell.log import log
from swell.oci.digest import Digest
from swell.store.records import Reason

_CLEAN_WITHIN = 10.0


class BuildahEngine:
    """Builds with this machine's buildah, runc and slirp4netns; we are root, builds are not."""

    def __init__(self, settings: EngineSettings, bases: BaseImages, *, limited: bool, sifs: Sifs | None = None) -> None:
        self._settings = settings
        self._sifs = sifs
        self._bases = bases
        self._limited = limited

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: EngineSettings, sifs: Sifs | None = None) -> AsyncIterator[Self]:
        """Take the workspace, clean up what a former life left there, and prove that builds can run; *sifs* makes SIF
        files of what was built.

        Raises:
            Unavailable: another builder has the workspace, or the machine lacks something.
        """
        workspace = settings.workspace
        for name in ("builds", "bases"):
            (workspace / name).mkdir(parents=True, exist_ok=True)
        with _only_one(workspace):
            await _finish(partial(_clean, workspace))
            engine = cls(settings, BaseImages(settings), limited=_can_limit(workspace), sifs=sifs)
            await engine._prove()
            yield engine

    async def build(self, recipe: Recipe, tell: Tell) -> Digest:
        """Build and push *recipe* within the time limit; see `Engine.build`."""
        async with self._room(recipe.build_id) as room:
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
        await _finish(partial(self._prepare, room, recipe))
        for image in base_images(recipe.containerfile):
            await self._bases.fetch(room.bases, (image, recipe.platform), partial(self._pull, room, image, recipe))
        command = buildah.build(recipe.platform, self._settings.isolation)
        if status := await self._run(room, command, self._settings.pull_auth_file, tell):
            raise diagnose_build(status, tell.lines)
        tell.lines.clear()
        if recipe.sif:
            return await self._push_sif(room, recipe, tell)
        command = buildah.push(room.read_digest("image-id"), recipe.target_image)
        if status := await self._run(room, command, self._settings.push_auth_file, tell):
            raise diagnose_push(status, tell.lines)
        return room.read_digest("digest")

    async def _push_sif(self, room: Room, recipe: Recipe, tell: Tail) -> Digest:
        if self._sifs is None:
            raise BuildFailure(Reason.ENGINE, "This builder makes no SIF files.")
        if status := await self._run(room, buildah.export(room.read_digest("image-id")), None, tell):
            raise diagnose_push(status, tell.lines)
        return await self._sifs.push(room, room.work / "image", recipe, tell)

    async def _pull(self, room: Room, image: str, recipe: Recipe) -> bool:
        # Whatever goes wrong here goes wrong again in the build, which says so in the log.
        command, auth = buildah.pull(image, recipe.platform), self._settings.pull_auth_file
        return await self._run(room, command, auth, _say_nothing, bases_mode="rw") == 0

    async def _run(
        self, room: Room, command: Sequence[str], auth: Path | None, tell: Tell, bases_mode: str = "ro"
    ) -> int:
        with _disk_trouble():
            room.lend_credentials(auth)
        return await run(command, environment=room.environment(bases_mode=bases_mode), directory=room.path, tell=tell)

    @asynccontextmanager
    async def _room(self, build_id: str) -> AsyncIterator[Room]:
        settings = self._settings
        async with self._bases.lease() as bases:
            with _disk_trouble():
                path = Path(tempfile.mkdtemp(prefix=f"{build_id}.", dir=settings.workspace / "builds"))
            room = Room(path=path, workspace=settings.workspace, bases=bases, user_id=settings.first_user_id)
            group = _group_prefix(settings.workspace) + path.name
            try:
                if self._limited:
                    with _disk_trouble():
                        made = cgroups.make(group, memory=settings.build_memory, pids=settings.build_pids)
                    room = structs.replace(room, groups=made)
                yield room
            finally:
                await _finish(partial(shutil.rmtree, path, ignore_errors=True))
                cgroups.remove(group)

    def _prepare(self, room: Room, recipe: Recipe) -> None:
        files, context = buildah.configuration(self._settings.insecure_registries), room.work / "context"
        with _disk_trouble():
            room.furnish(files | {"Containerfile": recipe.containerfile})
            if recipe.context:
                limit = self._settings.context_limit
                unpack(recipe.context, context, limit=limit, owner=room.user_id)
            if recipe.environment is not None:
                add(context / "conda.yml", BytesIO(recipe.environment.encode()), owner=room.user_id)
            if recipe.sif and recipe.sif.post:
                add(context / POST_FILE, BytesIO(recipe.sif.post.encode()), owner=room.user_id)
            for name, path in recipe.files.items():
                with path.open("rb") as source:
                    add(context / name, source, owner=room.user_id)

    async def _prove(self) -> None:
        if missing := _missing(self._settings.isolation):
            raise Unavailable(f"builds cannot run here: there is no {' and no '.join(missing)}")
        said = Tail(_say_nothing)
        async with self._room("trial") as room:
            try:
                room.furnish(buildah.configuration(()))
                status = await self._run(room, buildah.images(), None, said)
            except OSError as error:
                raise Unavailable(f"builds cannot run here: {error}") from error
        if status:
            raise Unavailable(f"builds cannot run here: {b' '.join(said.lines).decode(errors='replace')}")


async def _finish(work: Callable[[], None]) -> None:
    """Do *work* in a thread to its end, even when we are cancelled meanwhile: nobody else may touch its files."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _say_nothing(line: bytes) -> None:
    """Tell nobody."""


@contextmanager
def _only_one(workspace: Path) -> Iterator[None]:
    with (workspace / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(f"another builder works in {workspace}") from error
        yield


@contextmanager
def _disk_trouble() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = Reason.DISK if error.errno in {errno.ENOSPC, errno.EDQUOT} else Reason.ENGINE
        raise BuildFailure(reason, f"The builder cannot write its files: {error.strerror}.") from error


def _missing(isolation: Isolation) -> list[str]:
    programs = ["buildah", "setpriv", "unshare", "newuidmap"]
    if isolation is Isolation.CHROOT:
        return [program for program in programs if not shutil.which(program)]
    needed = [program for program in (*programs, "runc", "slirp4netns") if not shutil.which(program)]
    return needed if Path("/dev/net/tun").exists() else [*needed, "/dev/net/tun"]


def _can_limit(workspace: Path) -> bool:
    group = _group_prefix(workspace) + "trial"
    try:
        cgroups.make(group, memory=1 << 20, pids=1)
    except OSError as error:
        log.warning("builds have no limit on memory and processes", reason=str(error))
        return False
    finally:
        cgroups.remove(group)
    return True


def _group_prefix(workspace: Path) -> str:
    return f"swell-{hashlib.sha256(bytes(workspace.resolve())).hexdigest()[:12]}-"


def _is_removed(directory: Path) -> bool:
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


def _clean(workspace: Path) -> None:
    # Processes of a former life may be dying yet, and write as they do.
    give_up = time.monotonic() + _CLEAN_WITHIN
    while not _is_clean(workspace):
        if time.monotonic() > give_up:
            raise Unavailable(f"what former builds left in {workspace} or its control groups cannot be removed")
        time.sleep(0.05)


def _is_clean(workspace: Path) -> bool:
    rooms = [_is_removed(room) for room in (workspace / "builds").iterdir()]
    return cgroups.remove(_group_prefix(workspace) + "*") and all(rooms)
