"""One build with buildah in its sandbox: pull base images, build, push."""

import fcntl
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path

from msgspec import Struct, field, structs

from builder.adapters.commands import drop, execute, read_digest
from builder.adapters.inputs.auth_files import NO_CREDENTIALS, AuthFiles
from builder.adapters.inputs.build_context import add, is_link, unpack
from builder.adapters.workspace import as_build_failure
from builder.buildah import command_lines
from builder.buildah.base_stores import BaseImages, Generation
from builder.buildah.compression import Compression, choose
from builder.buildah.failures import CacheProblem, begins_step, diagnose_build, diagnose_cache, diagnose_push
from builder.buildah.mounts import Version, check_mounts, has_flaws, has_mounts
from builder.domain.base_images import base_images, final_image, references
from builder.domain.failure import BuildFailure
from builder.domain.time_limit import retry_push
from builder.engine import Recipe
from builder.settings import EngineSettings
from builder.sif.push import Sifs
from builder.unpushed import Keeping, UnpushedImages
from swell.api.containers import CompressionMode
from swell.containerfile import BUILDAH_1_28, MAX_SIZE, parse
from swell.disk import in_thread
from swell.jobs.messages import POST_FILE
from swell.oci.digest import Digest
from swell.registry.credentials.principal import PUBLIC
from swell.store.records import Reason
from swell_sandbox import Sandbox, cgroups
from swell_sandbox.lines import LONGEST_PIECE, plain
from swell_sandbox.process import Tail


class ImageBuild(Struct, frozen=True, kw_only=True):
    """The build of `recipe` in `sandbox`; `output` passes lines to the log and stores the last ones.

    `errors` are the last lines of standard error of the current step, and of buildah.
    """

    settings: EngineSettings
    sandbox: Sandbox
    recipe: Recipe
    output: Tail
    credentials: AuthFiles
    version: Version
    sifs: Sifs | None = None
    unpushed: UnpushedImages | None = None
    errors: deque[bytes] = field(default_factory=partial(deque, maxlen=50))

    async def run(self, bases: BaseImages, generation: Generation) -> Digest:
        """Build and push the recipe with base images from *generation*; return the digest of the manifest."""
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
        triggers = await build._check_triggers(stores)
        if recipe.cache_repository is not None and await in_thread(has_mounts, build._texts(triggers)):
            await build._log_cache_problem("results of steps with mounts are not shared")
            build = structs.replace(build, recipe=structs.replace(recipe, cache_repository=None))
        return await build._image(stores.get(final) if final else None)

    def _check_mounts(self, triggers: str = "") -> None:
        check_mounts(self._texts(triggers), self.version, partial(is_link, self.sandbox.work / "context"))

    def _texts(self, triggers: str) -> tuple[str, ...]:
        """The container file, and the *triggers* as another one."""
        return self.recipe.containerfile, *([f"FROM scratch\n{triggers}"] if triggers else [])

    async def _check_triggers(self, images: Iterable[str]) -> str:
        """Return the ONBUILD triggers of *images*, which have been pulled; refuse unsafe mounts and unnamed images.

        They are empty if nothing depends on them.

        A registry may serve another image to the build itself; then only the sandbox protects the machine.
        """
        is_checked = self.recipe.principal != PUBLIC or not self.recipe.base_rules.is_empty
        if not (has_flaws(self.version) or is_checked or self.recipe.cache_repository):
            return ""
        lines: list[bytes] = []

        async def append(line: bytes) -> None:
            if len(line) >= LONGEST_PIECE or sum(map(len, lines)) > MAX_SIZE:
                raise BuildFailure(Reason.RECIPE, "The ONBUILD triggers of a base image are too long to be checked.")
            lines.append(line)

        for image in images:
            await execute(self.sandbox, command_lines.triggers(image), append, credentials=NO_CREDENTIALS)
        triggers = b"\n".join(lines).decode(errors="replace")
        if has_flaws(self.version):
            await in_thread(self._check_mounts, triggers)
        await in_thread(self._check_triggered_images, triggers)
        return triggers

    def _check_triggered_images(self, triggers: str) -> None:
        """Refuse triggers with an image that only the login for a named image of the same repository may open, or that
        the policy does not allow."""
        recipe, text = self.recipe, f"FROM scratch\n{triggers}"
        flags = (flag for each in parse(text, BUILDAH_1_28) for flag in each.flags)
        is_limited = recipe.principal != PUBLIC or not recipe.base_rules.is_empty
        if is_limited and any(name in {"from", "mount"} and "$" in value for name, value in flags):
            raise BuildFailure(Reason.RECIPE, "An ONBUILD trigger of a base image has a variable in --from or --mount.")
        named = set(references(base_images(recipe.containerfile, recipe.platform, options=recipe.options)))
        repositories = {image.name for image in named}
        images = base_images(text, recipe.platform, (BUILDAH_1_28,), recipe.options)
        for image in set(references(images)) - named:
            if not recipe.base_rules.allows(image):
                raise BuildFailure(
                    Reason.RECIPE, f"An ONBUILD trigger of a base image names {image}, which the policy does not allow."
                )
            if image.name in repositories:
                raise BuildFailure(
                    Reason.RECIPE, f"An ONBUILD trigger of a base image names {image}, and the container file does not."
                )

    async def _image(self, final_store: Path | None) -> Digest:
        if final_store:
            await in_thread(self._copy_blob_cache, final_store)
        await self._build()
        self.output.lines.clear()
        if self.recipe.sif:
            return await self._push_sif(read_digest(self.sandbox, "image-id"))
        await self._push(read_digest(self.sandbox, "image-id"))
        return read_digest(self.sandbox, "digest")

    def _with_stores(self, stores: tuple[Path, ...]) -> "ImageBuild":
        """Return this build with the base images of *stores*, and no others, mounted in the sandbox."""
        mounts = tuple(command_lines.store_mount(store) for store in stores)
        with as_build_failure():
            (self.sandbox.directory / command_lines.STORAGE_CONF).write_text(command_lines.storage_conf(mounts))
        return structs.replace(self, sandbox=structs.replace(self.sandbox, mounts=mounts))

    def _prepare(self) -> None:
        sandbox, recipe = self.sandbox, self.recipe
        context, owner = sandbox.work / "context", sandbox.user_id
        with as_build_failure():
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
        # The build repeats an error of the pull, and writes it to the log.
        mount, credentials = command_lines.store_mount(store, writable=True), await self.credentials.pulls(self.recipe)
        command, environment = (
            command_lines.pull(image, self.recipe.platform, mount),
            command_lines.pull_environment(mount),
        )
        status = await execute(
            self.sandbox, command, drop, credentials=credentials, environment=environment, mounts=(mount,)
        )
        return status == 0

    def _copy_blob_cache(self, store: Path) -> None:
        """Copy the blob cache that the pull into *store* has written; no step could write to it."""
        cached, copy = store / command_lines.BLOB_CACHE, self.sandbox.directory / command_lines.BLOB_CACHE
        with as_build_failure(), suppress(FileNotFoundError), cached.open("rb") as source:
            fcntl.flock(source, fcntl.LOCK_SH)  # as buildah does: the pull of another build may be writing
            add(copy, source, owner=self.sandbox.user_id)

    async def _build(self) -> None:
        pulls = await self.credentials.pulls(self.recipe)
        cache = None if self.recipe.is_rebuild else self.recipe.cache_repository
        credentials = await self._cache_credentials(pulls, cache) if cache else None
        status = await self._build_with(credentials or pulls, cache if credentials else None)
        if status and credentials and (problem := diagnose_cache(self.output.lines)):
            await self._log_cache_problem(problem.value)
            self.output.lines.clear()
            # Finished steps are reused, unless the history of a base image prevents that.
            status = await self._build_with(pulls, reuse_steps=problem is CacheProblem.REFUSED)
        if status:
            killed, heredoc = cgroups.has_killed(self.sandbox.cgroups), parse(self.recipe.containerfile).has_heredoc
            raise diagnose_build(status, self.output.lines, self.errors, no_memory=killed, heredoc=heredoc)

    async def _cache_credentials(self, pulls: bytes, cache: str) -> bytes | None:
        """Return *pulls* with the credentials for *cache*; None if they are unavailable."""
        try:
            return await self.credentials.with_cache(pulls, cache, self.recipe.push_principal)
        except BuildFailure as failure:
            if failure.reason is not Reason.PUSH:
                raise
            await self._log_cache_problem(str(failure).rstrip("."))
            return None

    async def _log_cache_problem(self, why: str) -> None:
        await self.output(
            f"(the cache {self.recipe.cache_repository} cannot be used: {why}; going on without it)".encode()
        )

    async def _build_with(self, credentials: bytes, cache: str | None = None, *, reuse_steps: bool = False) -> int:
        settings = self.settings
        command = command_lines.build(
            self.recipe.platform,
            settings.isolation,
            self.recipe.options,
            cache=cache,
            reuse_steps=reuse_steps,
            proxies=settings.proxy_for_steps,
        )
        self.errors.clear()
        return await execute(
            self.sandbox, command, self._write_build_line, credentials=credentials, on_error=self._write_error
        )

    async def _write_build_line(self, line: bytes) -> None:
        if begins_step(line):
            self.errors.clear()
        if not command_lines.is_about_platform(line):
            await self.output(line)

    async def _write_error(self, line: bytes) -> None:
        if not command_lines.is_about_platform(line):
            self.errors.append(plain(line))
            await self.output(line)

    async def _push(self, image_id: Digest) -> None:
        compression, why = choose(self.recipe.compression, await self._docker_only(image_id))
        if why:
            await self.output(f"({why})".encode())
        if compression.force:
            await self._remove_blob_cache()
        export = partial(self._export, image_id, compression)
        keeping = Keeping(self.recipe, self.unpushed, self.sandbox.work / "unpushed", export)
        await retry_push(partial(self._push_once, image_id, compression), keeping.keep)
        await keeping.forget()

    async def _push_once(self, image_id: Digest, compression: Compression) -> None:
        self.output.lines.clear()
        status = await self._push_with(image_id, compression)
        if status and command_lines.is_zstd_refused(self.output.lines):
            await self._remove_blob_cache()
            status = await self._push_with(image_id, compression)
        if status:
            raise diagnose_push(status, self.output.lines)

    async def _export(self, image_id: Digest, compression: Compression) -> bool:
        """Write the image into a layout from which it can be stored; return whether that is possible.

        It is stored in the OCI format, so not if it has instructions that this format would lose.
        """
        if await self._instructions_of_docker(image_id):
            return False
        command = command_lines.store(image_id, compression)
        return await execute(self.sandbox, command, drop, credentials=NO_CREDENTIALS) == 0

    async def _push_sif(self, image_id: Digest) -> Digest:
        if self.sifs is None:
            raise BuildFailure(Reason.ENGINE, "This builder cannot create SIF files.")
        if status := await execute(
            self.sandbox, command_lines.export(image_id), self.output, credentials=NO_CREDENTIALS
        ):
            raise diagnose_push(status, self.output.lines)
        return await self.sifs.push(self.sandbox, "work/image", self.recipe, self.output)

    async def _push_with(self, image_id: Digest, compression: Compression) -> int:
        command = command_lines.push(image_id, self.recipe.target_image, compression)
        return await execute(self.sandbox, command, self.output, credentials=await self.credentials.pushes(self.recipe))

    async def _docker_only(self, image_id: Digest) -> str:
        """Return the instructions that the OCI format would lose; empty unless zstd requires that format."""
        compression = self.recipe.compression
        if compression is None or compression.mode is not CompressionMode.ZSTD:
            return ""
        return await self._instructions_of_docker(image_id)

    async def _instructions_of_docker(self, image_id: Digest) -> str:
        """Return the instructions of the image that only the docker format has."""
        output = Tail(drop)
        if status := await execute(
            self.sandbox, command_lines.docker_only(image_id), output, credentials=NO_CREDENTIALS
        ):
            raise diagnose_push(status, output.lines)
        prefix = command_lines.DOCKER_ONLY.encode()
        return next(
            (line.removeprefix(prefix).strip().decode() for line in output.lines if line.startswith(prefix)), ""
        )

    async def _remove_blob_cache(self) -> None:
        await in_thread((self.sandbox.directory / command_lines.BLOB_CACHE).unlink, missing_ok=True)
