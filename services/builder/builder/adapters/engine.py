"""The buildah engine: each build in a directory, a store, a PID namespace and a control group of its own.

What a build makes lies in its directory and ends with it, however it ends; there is nothing to repair after a crash.
Only base images are shared (`bases`), read-only for the build.

A step is root of its container, but an unprivileged user outside: buildah 1.28 lets a container file mount any path of
the machine (RUN --mount with a symbolic link, or a cache id with dots), and that user can do little with it.
"""

import asyncio
import fcntl
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from builder.adapters import cgroups
from builder.adapters.bases import BaseImages
from builder.adapters.buildah import Buildah, Room, furnish, images, pull, push
from builder.adapters.context import unpack
from builder.adapters.process import Tail, run
from builder.build import Recipe, Tell
from builder.domain.containerfile import base_images, with_cache_owners
from builder.domain.failure import BuildFailure, Reason, diagnose_build, diagnose_push
from builder.settings import EngineSettings, Isolation
from swell.errors import Unavailable
from swell.log import log
from swell.oci.digest import Digest, parse_digest

_REMOVE_WITHIN = 10.0


class BuildahEngine:
    """Builds with the `buildah` and `runc` of this machine, as root."""

    def __init__(self, settings: EngineSettings, buildah: Buildah, bases: BaseImages) -> None:
        self._settings = settings
        self._buildah = buildah
        self._bases = bases

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: EngineSettings) -> AsyncIterator[Self]:
        """Take the workspace, clean up what a former life left there, and prove that builds can run.

        Raises:
            Unavailable: another builder has the workspace, or the machine lacks something.
        """
        workspace = settings.workspace
        for name in ("builds", "bases"):
            (workspace / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        with _only_one(workspace):
            await _finish(lambda: _clean(workspace))
            limited = settings.isolation is Isolation.OCI and _can_limit(workspace)
            buildah = Buildah(settings, limited=limited)
            bases = BaseImages(workspace / "bases", settings.base_cache_age, settings.base_cache_free)
            engine = cls(settings, buildah, bases)
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
        if status := await self._run(room, self._buildah.build(room, recipe.platform), tell):
            raise diagnose_build(status, tell.lines)
        _write_auth(room / "push.json", self._settings.push_auth_file)
        image_id = (room / "image-id").read_text()
        if status := await self._run(room, push(image_id, recipe.target_image), tell):
            raise diagnose_push(status, tell.lines)
        return parse_digest((room / "digest").read_text())

    async def _prove(self) -> None:
        said = Tail(_say_nothing)
        async with self._room("trial") as room:
            furnish(room, self._settings.insecure_registries)
            try:
                status = await self._run(room, images(), said)
            except OSError as error:
                raise Unavailable(f"builds cannot run here: {error}") from error
        if status:
            raise Unavailable(f"builds cannot run here: {b' '.join(said.lines).decode(errors='replace')}")

    async def _pull(self, room: Room, image: str, recipe: Recipe) -> bool:
        # Whatever goes wrong here goes wrong again in the build, which says so in the log.
        return await self._run(room, pull(image, recipe.platform), _say_nothing) == 0

    async def _run(self, room: Room, command: Sequence[str], tell: Tell) -> int:
        return await run(command, environment=self._buildah.environment(room), directory=room.path, tell=tell)

    @asynccontextmanager
    async def _room(self, build_id: str) -> AsyncIterator[Room]:
        async with self._bases.lease() as bases:
            path = Path(tempfile.mkdtemp(prefix=f"{build_id}.", dir=self._settings.workspace / "builds"))
            room = Room(path, bases, _group_prefix(self._settings.workspace) + path.name)
            try:
                yield room
            finally:
                await _finish(partial(_remove, path))
                cgroups.remove(room.group)

    def _prepare(self, room: Room, recipe: Recipe) -> None:
        furnish(room, self._settings.insecure_registries)
        containerfile = with_cache_owners(recipe.containerfile, self._settings.first_user_id)
        (room / "Containerfile").write_text(containerfile)
        _write_auth(room / "pull.json", self._settings.pull_auth_file)
        if recipe.context:
            unpack(recipe.context, room / "context", self._settings.context_limit)
        if self._buildah.limited:
            cgroups.make(room.group, self._settings.build_pids)


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


def _can_limit(workspace: Path) -> bool:
    group = _group_prefix(workspace) + "trial"
    try:
        cgroups.make(group, 1)
    except OSError as error:
        log.warning("builds have no limit on memory and processes", reason=str(error))
        return False
    finally:
        cgroups.remove(group)
    return True


def _group_prefix(workspace: Path) -> str:
    return f"swell-{hashlib.sha256(bytes(workspace.resolve())).hexdigest()[:12]}-"


def _write_auth(path: Path, source: Path | None) -> None:
    """Write the credentials of *source*, or none: without a file of ours buildah would look for one elsewhere."""
    content = source.read_bytes() if source else b'{"auths": {}}'
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)


def _remove(directory: Path) -> None:
    # Processes of a former life may be dying yet, and write as they do.
    give_up = time.monotonic() + _REMOVE_WITHIN
    while directory.exists():
        try:
            shutil.rmtree(directory)
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def _clean(workspace: Path) -> None:
    for left in (workspace / "builds").iterdir():
        _remove(left)
    cgroups.remove(_group_prefix(workspace) + "*")
