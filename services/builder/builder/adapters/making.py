"""What buildah does for one recipe in its room: fetch base images, build, push."""

import fcntl
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO

from msgspec import Struct

from builder.adapters import buildah, cgroups
from builder.adapters.auth_files import NO_CREDENTIALS, AuthFiles
from builder.adapters.bases import BaseImages
from builder.adapters.context import add, unpack
from builder.adapters.process import Tail, run
from builder.adapters.room import Room
from builder.adapters.sif import Sifs
from builder.adapters.workspace import disk_trouble
from builder.build import Recipe, Tell
from builder.domain.compression import Compression, choose
from builder.domain.containerfile import base_images, has_heredoc
from builder.domain.failure import BuildFailure, CacheTrouble, cache_trouble, diagnose_build, diagnose_push
from builder.settings import EngineSettings
from swell.api.containers import CompressionMode
from swell.disk import in_thread
from swell.jobs.messages import POST_FILE
from swell.oci.digest import Digest
from swell.store.records import Reason


class Making(Struct, frozen=True, kw_only=True):
    """One recipe on its way to an image."""

    settings: EngineSettings
    room: Room
    recipe: Recipe
    tell: Tail
    credentials: AuthFiles
    sifs: Sifs | None = None

    async def image(self, bases: BaseImages) -> Digest:
        """Build and push the recipe with what *bases* has already; the digest of the manifest."""
        await in_thread(self._prepare)
        for image in base_images(self.recipe.containerfile):
            await bases.fetch(self.room.bases, (image, self.recipe.platform), partial(self._pull, image))
        await in_thread(self._learn_blobs)
        await self._build()
        self.tell.lines.clear()
        if self.recipe.sif:
            return await self._push_sif(self.room.read_digest("image-id"))
        await self._push(self.room.read_digest("image-id"))
        return self.room.read_digest("digest")

    def _prepare(self) -> None:
        room, recipe = self.room, self.recipe
        context = room.work / "context"
        with disk_trouble():
            (room.path / "Containerfile").write_text(recipe.containerfile)
            if recipe.context:
                unpack(recipe.context, context, limit=self.settings.context_limit, owner=room.user_id)
            if recipe.environment is not None:
                add(context / "conda.yml", BytesIO(recipe.environment.encode()), owner=room.user_id)
            if recipe.sif and recipe.sif.post:
                add(context / POST_FILE, BytesIO(recipe.sif.post.encode()), owner=room.user_id)
            for name, path in recipe.files.items():
                with path.open("rb") as source:
                    add(context / name, source, owner=room.user_id)

    async def _pull(self, image: str) -> bool:
        # Whatever goes wrong here goes wrong again in the build, which says so in the log.
        command, credentials = buildah.pull(image, self.recipe.platform), await self.credentials.pulls(self.recipe)
        return await execute(self.room, command, credentials, say_nothing, bases_mode="rw") == 0

    def _learn_blobs(self) -> None:
        """Copy what pulls have found out, which no step has ever been near; what the build finds out is its own."""
        known, ours = self.room.bases / buildah.BLOB_CACHE, self.room.path / buildah.BLOB_CACHE
        with disk_trouble(), suppress(FileNotFoundError), known.open("rb") as source:
            fcntl.flock(source, fcntl.LOCK_SH)  # as buildah does; another build's pull may write just now
            add(ours, source, owner=self.room.user_id)

    async def _build(self) -> None:
        pulls, cache = await self.credentials.pulls(self.recipe), self.recipe.cache_repository
        opened = await self._with_cache(pulls, cache) if cache else None
        status = await self._build_with(opened or pulls, cache if opened else None)
        if status and opened and (trouble := cache_trouble(self.tell.lines)):
            await self._say_cache(trouble.value)
            self.tell.lines.clear()
            # Steps that have run are not run again, unless it is them that cannot be told apart.
            status = await self._build_with(pulls, again=trouble is CacheTrouble.REFUSED)
        if status:
            killed, heredoc = cgroups.has_killed(self.room.groups), has_heredoc(self.recipe.containerfile)
            raise diagnose_build(status, self.tell.lines, no_memory=killed, heredoc=heredoc)

    async def _with_cache(self, pulls: bytes, cache: str) -> bytes | None:
        """*pulls* and what opens *cache*; None when that is not to be had."""
        try:
            return await self.credentials.with_cache(pulls, cache)
        except BuildFailure as failure:
            if failure.reason is not Reason.PUSH:
                raise
            await self._say_cache(str(failure).rstrip("."))
            return None

    async def _say_cache(self, why: str) -> None:
        await self.tell(
            f"(the cache {self.recipe.cache_repository} cannot be used: {why}; going on without it)".encode()
        )

    async def _build_with(self, credentials: bytes, cache: str | None = None, *, again: bool = False) -> int:
        settings = self.settings
        command = buildah.build(
            self.recipe.platform, settings.isolation, cache=cache, again=again, proxies=settings.proxy_for_steps
        )
        return await execute(self.room, command, credentials, self._tell_of_build)

    async def _tell_of_build(self, line: bytes) -> None:
        if not buildah.is_about_platform(line):
            await self.tell(line)

    async def _push(self, image_id: Digest) -> None:
        compression, why = choose(self.recipe.compression, await self._docker_only(image_id))
        if why:
            await self.tell(f"({why})".encode())
        if compression.force:
            await self._forget_blobs()
        status = await self._push_with(image_id, compression)
        if status and buildah.is_zstd_trouble(self.tell.lines):
            await self._forget_blobs()
            status = await self._push_with(image_id, compression)
        if status:
            raise diagnose_push(status, self.tell.lines)

    async def _push_sif(self, image_id: Digest) -> Digest:
        if self.sifs is None:
            raise BuildFailure(Reason.ENGINE, "This builder makes no SIF files.")
        if status := await execute(self.room, buildah.export(image_id), NO_CREDENTIALS, self.tell):
            raise diagnose_push(status, self.tell.lines)
        return await self.sifs.push(self.room, self.room.work / "image", self.recipe, self.tell)

    async def _push_with(self, image_id: Digest, compression: Compression) -> int:
        command = buildah.push(image_id, self.recipe.target_image, compression)
        return await execute(self.room, command, await self.credentials.pushes(self.recipe), self.tell)

    async def _docker_only(self, image_id: Digest) -> str:
        """Which instructions would be lost in the OCI format; asked only where that matters."""
        wanted = self.recipe.compression
        if wanted is None or wanted.mode is not CompressionMode.ZSTD:
            return ""
        said = Tail(say_nothing)
        if status := await execute(self.room, buildah.docker_only(image_id), NO_CREDENTIALS, said):
            raise diagnose_push(status, said.lines)
        mark = buildah.DOCKER_ONLY.encode()
        return next((line.removeprefix(mark).strip().decode() for line in said.lines if line.startswith(mark)), "")

    async def _forget_blobs(self) -> None:
        await in_thread((self.room.path / buildah.BLOB_CACHE).unlink, missing_ok=True)


async def execute(room: Room, command: Sequence[str], credentials: bytes, tell: Tell, bases_mode: str = "ro") -> int:
    """Run *command* in *room* with the auth file *credentials*; its exit status."""
    with disk_trouble():
        room.lend_credentials(credentials)
    environment = room.environment(bases_mode=bases_mode)
    return await run(command, environment=environment, directory=room.path, tell=tell, network=room.network)


async def say_nothing(line: bytes) -> None:
    """Tell nobody."""
