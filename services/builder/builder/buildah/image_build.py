"""What buildah does for one recipe in its sandbox: fetch base images, build, push."""

import fcntl
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path

from msgspec import Struct, structs

from builder.adapters.auth_files import NO_CREDENTIALS, AuthFiles
from builder.adapters.build_context import add, is_link, unpack
from builder.adapters.commands import drop, execute, read_digest
from builder.adapters.workspace import disk_trouble
from builder.build import Recipe
from builder.buildah import command_lines
from builder.buildah.base_stores import BaseImages, Generation
from builder.buildah.compression import Compression, choose
from builder.buildah.failures import CacheTrouble, cache_trouble, diagnose_build, diagnose_push
from builder.buildah.mounts import Version, check_mounts, has_flaws
from builder.domain.base_images import base_images, final_image
from builder.domain.failure import BuildFailure
from builder.settings import EngineSettings
from builder.sif.push import Sifs
from swell.api.containers import CompressionMode
from swell.containerfile import BUILDAH_1_28, MAX_SIZE, parse
from swell.disk import in_thread
from swell.jobs.messages import POST_FILE
from swell.oci.digest import Digest
from swell.store.records import Reason
from swell_sandbox import Sandbox, cgroups
from swell_sandbox.lines import LONGEST_PIECE
from swell_sandbox.process import Tail


class Making(Struct, frozen=True, kw_only=True):
    """One recipe on its way to an image, with buildah *version*."""

    settings: EngineSettings
    sandbox: Sandbox
    recipe: Recipe
    tell: Tail
    credentials: AuthFiles
    version: Version
    sifs: Sifs | None = None

    async def image(self, bases: BaseImages, generation: Generation) -> Digest:
        """Build and push the recipe with the layers that *bases* has already; the digest of the manifest."""
        await in_thread(self._prepare)
        await in_thread(self._check_mounts)
        stores = dict[str, Path]()
        recipe = self.recipe
        for image in base_images(recipe.containerfile, recipe.platform, options=recipe.options):
            store = generation.store(image, recipe.platform, recipe.principal)
            if await bases.fetch(store, partial(self._pull, image, store)):
                stores[image] = store
        final = final_image(recipe.containerfile, recipe.platform, BUILDAH_1_28, recipe.options)
        build = self._with_stores(tuple(stores.values()))
        await build._check_triggers(stores)
        return await build._image(stores.get(final) if final else None)

    def _check_mounts(self, triggers: str = "") -> None:
        texts = (self.recipe.containerfile, *([f"FROM scratch\n{triggers}"] if triggers else []))
        check_mounts(texts, self.version, partial(is_link, self.sandbox.work / "context"))

    async def _check_triggers(self, images: Iterable[str]) -> None:
        """Refuse unsafe mounts in the ONBUILD triggers of *images*, which have been pulled.

        A registry may serve another image to the build itself; then only the sandbox protects the machine.
        """
        if not has_flaws(self.version):
            return
        lines: list[bytes] = []

        async def append(line: bytes) -> None:
            if len(line) >= LONGEST_PIECE or sum(map(len, lines)) > MAX_SIZE:
                raise BuildFailure(Reason.RECIPE, "The ONBUILD triggers of a base image are too long to be checked.")
            lines.append(line)

        for image in images:
            await execute(self.sandbox, command_lines.triggers(image), append, credentials=NO_CREDENTIALS)
        await in_thread(self._check_mounts, b"\n".join(lines).decode(errors="replace"))

    async def _image(self, final_store: Path | None) -> Digest:
        if final_store:
            await in_thread(self._learn_blobs, final_store)
        await self._build()
        self.tell.lines.clear()
        if self.recipe.sif:
            return await self._push_sif(read_digest(self.sandbox, "image-id"))
        await self._push(read_digest(self.sandbox, "image-id"))
        return read_digest(self.sandbox, "digest")

    def _with_stores(self, stores: tuple[Path, ...]) -> "Making":
        """The same with *stores* of base images in the sandbox, which are the only ones there."""
        mounts = tuple(command_lines.store_mount(store) for store in stores)
        with disk_trouble():
            (self.sandbox.directory / command_lines.STORAGE_CONF).write_text(command_lines.storage_conf(mounts))
        return structs.replace(self, sandbox=structs.replace(self.sandbox, mounts=mounts))

    def _prepare(self) -> None:
        sandbox, recipe = self.sandbox, self.recipe
        context, owner = sandbox.work / "context", sandbox.user_id
        with disk_trouble():
            (sandbox.directory / "Containerfile").write_text(recipe.containerfile)
            if recipe.context:
                unpack(recipe.context, context, limit=self.settings.context_limit, owner=owner)
            if recipe.environment is not None:
                add(context / "conda.yml", BytesIO(recipe.environment.encode()), owner=owner)
            if recipe.sif and recipe.sif.post:
                add(context / POST_FILE, BytesIO(recipe.sif.post.encode()), owner=owner)
            for name, path in recipe.files.items():
                with path.open("rb") as source:
                    add(context / name, source, owner=owner)

    async def _pull(self, image: str, store: Path) -> bool:
        # An error here comes again in the build, which writes it to the log.
        mount, credentials = command_lines.store_mount(store, writable=True), await self.credentials.pulls(self.recipe)
        command, environment = (
            command_lines.pull(image, self.recipe.platform, mount),
            command_lines.pull_environment(mount),
        )
        status = await execute(
            self.sandbox, command, drop, credentials=credentials, environment=environment, mounts=(mount,)
        )
        return status == 0

    def _learn_blobs(self, store: Path) -> None:
        """Copy what the pull into *store* has learnt of the registry, to which no step had access."""
        known, ours = store / command_lines.BLOB_CACHE, self.sandbox.directory / command_lines.BLOB_CACHE
        with disk_trouble(), suppress(FileNotFoundError), known.open("rb") as source:
            fcntl.flock(source, fcntl.LOCK_SH)  # as buildah does; another build's pull may write just now
            add(ours, source, owner=self.sandbox.user_id)

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
            killed, heredoc = cgroups.has_killed(self.sandbox.cgroups), parse(self.recipe.containerfile).has_heredoc
            raise diagnose_build(status, self.tell.lines, no_memory=killed, heredoc=heredoc)

    async def _with_cache(self, pulls: bytes, cache: str) -> bytes | None:
        """*pulls* and what opens *cache*; None when that is not to be had."""
        try:
            return await self.credentials.with_cache(pulls, cache, self.recipe.push_principal)
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
        command = command_lines.build(
            self.recipe.platform,
            settings.isolation,
            self.recipe.options,
            cache=cache,
            again=again,
            proxies=settings.proxy_for_steps,
        )
        return await execute(self.sandbox, command, self._tell_of_build, credentials=credentials)

    async def _tell_of_build(self, line: bytes) -> None:
        if not command_lines.is_about_platform(line):
            await self.tell(line)

    async def _push(self, image_id: Digest) -> None:
        compression, why = choose(self.recipe.compression, await self._docker_only(image_id))
        if why:
            await self.tell(f"({why})".encode())
        if compression.force:
            await self._forget_blobs()
        status = await self._push_with(image_id, compression)
        if status and command_lines.is_zstd_trouble(self.tell.lines):
            await self._forget_blobs()
            status = await self._push_with(image_id, compression)
        if status:
            raise diagnose_push(status, self.tell.lines)

    async def _push_sif(self, image_id: Digest) -> Digest:
        if self.sifs is None:
            raise BuildFailure(Reason.ENGINE, "This builder makes no SIF files.")
        if status := await execute(self.sandbox, command_lines.export(image_id), self.tell, credentials=NO_CREDENTIALS):
            raise diagnose_push(status, self.tell.lines)
        return await self.sifs.push(self.sandbox, "work/image", self.recipe, self.tell)

    async def _push_with(self, image_id: Digest, compression: Compression) -> int:
        command = command_lines.push(image_id, self.recipe.target_image, compression)
        return await execute(self.sandbox, command, self.tell, credentials=await self.credentials.pushes(self.recipe))

    async def _docker_only(self, image_id: Digest) -> str:
        """Which instructions would be lost in the OCI format; asked only where that matters."""
        wanted = self.recipe.compression
        if wanted is None or wanted.mode is not CompressionMode.ZSTD:
            return ""
        said = Tail(drop)
        if status := await execute(self.sandbox, command_lines.docker_only(image_id), said, credentials=NO_CREDENTIALS):
            raise diagnose_push(status, said.lines)
        mark = command_lines.DOCKER_ONLY.encode()
        return next((line.removeprefix(mark).strip().decode() for line in said.lines if line.startswith(mark)), "")

    async def _forget_blobs(self) -> None:
        await in_thread((self.sandbox.directory / command_lines.BLOB_CACHE).unlink, missing_ok=True)
