"""Run build jobs: an engine builds and pushes the image; the log, the result and an event are published."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from builder.domain.failure import NO_EXIT_STATUS, BuildFailure
from builder.domain.lock_cutter import LockCutter
from swell.api.builds import BuildStep
from swell.build_spec import BuildSpec, carry
from swell.concurrency.retry import retry_until_available
from swell.errors import BlobUnknown
from swell.jobs.messages import BuildDone, BuildJob, Definition, IndexJob
from swell.log import log
from swell.oci.digest import Digest, hex_of
from swell.registry.principal import Principal
from swell.store.builds import Builds
from swell.store.records import BuildResult, Reason, Submission

ATTEMPTS = 5  # a build that stops its builder is not tried more often
CANCELLED = "The build was cancelled."

WriteLine = Callable[[bytes], Awaitable[None]]
"""Adds a line, without its line feed, to the log of a build."""

WriteStep = Callable[[BuildStep], Awaitable[None]]
"""Adds a step, or a change of one, to the log of a build."""


async def ignore_step(_: BuildStep) -> None:
    """Do nothing, for logs of lines only."""


class Recipe(BuildSpec, frozen=True, kw_only=True):
    """A build whose inputs are files on this machine.

    `context` is a gzipped tar file with a verified digest; without it the context contains only `conda.yml`, the text
    of `environment`, and `files`, which are added by name as they are. With `sif` the image is converted into a SIF
    file, which is pushed instead. `secrets` are the contents of `options.build_secrets`, by their ids.
    """

    build_id: str
    platform: str = "linux/amd64"
    context: Path | None = None
    files: Mapping[str, Path] = {}
    sif: Definition | None = None
    secrets: Mapping[str, bytes] = {}


class ExistingBuild(Struct, frozen=True, kw_only=True):
    """A build that an earlier builder has started and that still exists; `finished` is None while it runs."""

    started: datetime
    finished: datetime | None = None


class Engine(Protocol):
    """Builds and pushes images, within the limits of time, memory and disk in its settings.

    When a build ends, for any reason, its processes have ended, and its files and credentials are removed soon
    after, in the background.
    """

    async def build(self, recipe: Recipe, write_line: WriteLine, write_step: WriteStep = ignore_step, /) -> Digest:
        """Build and push *recipe*; return the digest of the pushed manifest.

        Output is passed to *write_line* immediately: lines without colours, in pieces of at most 16 KiB. Lines that
        arrive together may be joined by line feeds. A slow *write_line* slows the build. Cancelling ends every process
        of the build. An engine that has the steps of a build passes them to *write_step*, each after the line that says
        the same.

        Raises:
            BuildFailure: no image was pushed; the reason says who can fix it: the client, or the operator.
        """

    async def find(self, recipe: Recipe) -> ExistingBuild | None:
        """Return the build of *recipe* that an earlier builder started and that `build` would continue.

        Raises:
            Unavailable: the place where builds run does not respond.
        """


class Engines:
    """Selects the engine of a recipe: recipes with packages need no container."""

    def __init__(self, containers: Engine, packages: Engine) -> None:
        self._containers = containers
        self._packages = packages

    async def build(self, recipe: Recipe, write_line: WriteLine, write_step: WriteStep = ignore_step, /) -> Digest:
        return await self._engine(recipe).build(recipe, write_line, write_step)

    async def find(self, recipe: Recipe) -> ExistingBuild | None:
        return await self._engine(recipe).find(recipe)

    def _engine(self, recipe: Recipe) -> Engine:
        return self._packages if recipe.packages else self._containers


class Log(Protocol):
    async def write_line(self, line: bytes) -> None: ...

    async def write_step(self, step: BuildStep) -> None: ...

    def masked(self, text: str) -> str:
        """Return *text* with the secrets masked that the log masks."""


class Logs(Protocol):
    def open(self, build_id: str, attempt: int, secrets: Iterable[bytes] = ()) -> AbstractAsyncContextManager[Log]:
        """Open the log of an attempt; it is stored when the block ends without an exception.

        *secrets* of the build are masked, like those of the operator.
        """

    async def store_lock(self, build_id: str, lock: bytes) -> None:
        """Store the lock file of a build."""


class Contexts(Protocol):
    def fetch(self, digest: Digest) -> AbstractAsyncContextManager[Path]:
        """Download the gzipped tar *digest* for the length of the block; raises `BlobUnknown`."""


class Secrets(Protocol):
    def read(self, names: Mapping[str, str]) -> Mapping[str, bytes]:
        """Return the content of the secrets *names*, by the same keys; raises `BuildFailure`."""


class Registry(Protocol):
    async def pushed(self, target_image: str, principal: Principal) -> Digest | None:
        """Return the digest of *target_image*, read with the credentials of *principal*; raises `BuildFailure`."""


class Assembly(Protocol):
    async def make(self, submission: Submission, build_log: Log) -> Digest:
        """Push the index of *submission* when its children are built; raises `BuildFailure`."""


class Leases(Protocol):
    def hold(self, build_id: str) -> AbstractAsyncContextManager[None]:
        """Hold the lease of *build_id* for the length of the block; raises `Unavailable` if another builder has it."""


class Events(Protocol):
    async def publish(self, event: BuildDone) -> None: ...


class Interest(Protocol):
    async def wait_until_cancelled(self, build_id: str) -> None:
        """Wait until *build_id* is cancelled, without a time limit."""


class BuildRunner:
    """Runs build jobs. A job may be delivered several times; its build has one result."""

    def __init__(
        self,
        engine: Engine,
        builds: Builds,
        leases: Leases,
        logs: Logs,
        contexts: Contexts,
        secrets: Secrets,
        registry: Registry,
        events: Events,
        assembly: Assembly,
        interest: Interest,
    ) -> None:
        self._engine = engine
        self._leases = leases
        self._registry = registry
        self._builds = builds
        self._logs = logs
        self._contexts = contexts
        self._secrets = secrets
        self._events = events
        self._assembly = assembly
        self._interest = interest

    async def build(self, job: BuildJob | IndexJob, _delivery: int) -> None:
        """Run *job* unless its build has a result, and publish the result. A job that was given up is run again.

        Raises:
            Unavailable: a backend is unavailable; the job has to be delivered again.
        """
        async with self._leases.hold(job.id):
            result = await self._recorded_result(job.id) or await self._run_and_record(job)
        await self._events.publish(BuildDone.of(job.id, job, result))

    async def give_up(self, build_id: str, why: str) -> None:
        """Record that no builder can run the job of *build_id*, so that clients do not wait for it.

        Raises:
            Unavailable: the store is unavailable.
        """
        if (build := await self._builds.get(build_id)) is None:
            return
        now = datetime.now(UTC)
        result = BuildResult(
            succeeded=False,
            exit_status=NO_EXIT_STATUS,
            started=now,
            finished=now,
            reason=Reason.GIVEN_UP,
            message=f"No builder could do this job: it {why}.",
        )
        result = await self._builds.finish(build_id, result)
        await self._events.publish(BuildDone.of(build_id, build.submission, result))

    async def _recorded_result(self, build_id: str) -> BuildResult | None:
        build = await self._builds.get(build_id)
        if build and build.result and build.result.reason is Reason.GIVEN_UP:
            await self._builds.reopen(build_id)
            return None
        return build.result if build else None

    async def _run_and_record(self, job: BuildJob | IndexJob) -> BuildResult:
        result = await self._run(job)
        # Another attempt would replace the log, so the result is recorded even if that takes several tries.
        recorded = await retry_until_available(lambda: self._builds.finish(job.id, result))
        seconds = round(recorded.duration.total_seconds(), 3)
        log.info("build ended", build_id=job.id, reason=recorded.reason, digest=recorded.digest, seconds=seconds)
        return recorded

    async def _run(self, job: BuildJob | IndexJob) -> BuildResult:
        """Run *job*. Its files are downloaded first: a try that fails because of the store is not an attempt."""
        started = datetime.now(UTC)
        async with AsyncExitStack() as downloads:
            recipe = await self._recipe(job, downloads) if isinstance(job, BuildJob) else None
            attempt = await self._builds.begin(job.id)
            build = await self._builds.get(job.id)
            if build and build.result:  # it was cancelled before it began
                return build.result
            existing = await self._existing(recipe, attempt)
            started = existing.started if existing else started
            secrets = recipe.secrets.values() if isinstance(recipe, Recipe) else ()
            async with self._logs.open(job.id, attempt, secrets) as build_log:
                try:
                    if build and build.is_cancelled:
                        raise BuildFailure(Reason.CANCELLED, CANCELLED)
                    if recipe:
                        work = self._attempt(job, recipe, attempt, build_log, existing)
                    else:
                        work = self._assemble(job, build_log)
                    digest = await self._unless_cancelled(job.id, work)
                except BuildFailure as error:
                    failure = error.explained(build_log.masked)
                    await build_log.write_line(f"The build failed: {failure}".encode())
                    return BuildResult(
                        succeeded=False,
                        exit_status=failure.exit_status,
                        started=started,
                        finished=_finished(existing),
                        reason=failure.reason,
                        message=str(failure),
                        attempt=attempt,
                    )
        finished = _finished(existing)
        return BuildResult(
            succeeded=True, exit_status=0, started=started, finished=finished, digest=digest, attempt=attempt
        )

    async def _existing(self, recipe: Recipe | BuildFailure | None, attempt: int) -> ExistingBuild | None:
        if attempt == 1 or not isinstance(recipe, Recipe):
            return None
        return await self._engine.find(recipe)

    async def _recipe(self, job: BuildJob, downloads: AsyncExitStack) -> Recipe | BuildFailure:
        """Download the files of *job*; a failure is returned, because the log is not open yet."""
        try:
            return carry(
                job,
                Recipe,
                build_id=job.id,
                context=await self._fetch(job.context, downloads) if job.context else None,
                files={f"layer-{hex_of(layer)}.tar.gz": await self._fetch(layer, downloads) for layer in job.layers},
                sif=job.sif,
                secrets=await asyncio.to_thread(self._secrets.read, job.options.build_secrets),
            )
        except BuildFailure as failure:
            return failure

    async def _assemble(self, job: BuildJob | IndexJob, build_log: Log) -> Digest:
        if (build := await self._builds.get(job.id)) is None:
            raise BuildFailure(Reason.ENGINE, "The record of this build has expired.")
        return await self._assembly.make(build.submission, build_log)

    async def _unless_cancelled(self, build_id: str, work: Coroutine[Any, Any, Digest]) -> Digest:
        """Run *work* until it ends or *build_id* is cancelled; it has ended when this method returns.

        Raises:
            BuildFailure: the build is cancelled, or *work* fails.
        """
        cancelled = False
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(_result_or_error(work))

            async def watch() -> None:
                nonlocal cancelled
                await self._interest.wait_until_cancelled(build_id)
                cancelled = True
                task.cancel()

            watching = tasks.create_task(watch())
            task.add_done_callback(lambda _: watching.cancel())
        if task.cancelled():
            if cancelled:
                raise BuildFailure(Reason.CANCELLED, CANCELLED)
            raise asyncio.CancelledError
        result = task.result()
        if isinstance(result, Exception):
            raise result
        return result

    async def _attempt(
        self,
        job: BuildJob | IndexJob,
        recipe: Recipe | BuildFailure,
        attempt: int,
        build_log: Log,
        existing: ExistingBuild | None,
    ) -> Digest:
        if isinstance(recipe, BuildFailure):
            raise recipe
        if attempt > ATTEMPTS:
            raise BuildFailure(Reason.ENGINE, f"The builder has stopped {ATTEMPTS} times in the middle of this build.")
        if existing:
            message = b"(the builder stopped in the middle of this build, which went on; its log follows)"
            await build_log.write_line(message)
        elif attempt > 1 and (digest := await self._pushed_before(job, attempt, build_log)):
            return digest
        return await self._build(recipe, build_log)

    async def _pushed_before(self, job: BuildJob | IndexJob, attempt: int, build_log: Log) -> Digest | None:
        """Return the digest of the image if the last attempt has pushed it."""
        if digest := await self._registry.pushed(job.target_image, job.push_principal):
            message = b"(the builder stopped in the middle of this build, after it had pushed the image)"
            await build_log.write_line(message)
            return digest
        message = f"(the builder stopped in the middle of this build; attempt {attempt} begins)".encode()
        await build_log.write_line(message)
        return None

    async def _build(self, recipe: Recipe, build_log: Log) -> Digest:
        """Build *recipe*. A lock file in the output is cut out of the log and stored separately."""
        cutter = LockCutter()

        async def write_line(line: bytes) -> None:
            for output in cutter.feed(line):
                await build_log.write_line(output)

        try:
            digest = await self._engine.build(recipe, write_line, build_log.write_step)
        finally:
            for output in cutter.end():
                await build_log.write_line(output)
        if cutter.lock:
            await self._logs.store_lock(recipe.build_id, cutter.lock)
        return digest

    async def _fetch(self, digest: Digest, downloads: AsyncExitStack) -> Path:
        try:
            return await downloads.enter_async_context(self._contexts.fetch(digest))
        except BlobUnknown as error:
            message = "The build context or a layer is no longer stored; send it again."
            raise BuildFailure(Reason.CONTEXT, message) from error


async def _result_or_error(work: Coroutine[Any, Any, Digest]) -> Digest | Exception:
    try:
        return await work
    except Exception as error:  # noqa: BLE001  (raised again outside of the task group)
        return error


def _finished(existing: ExistingBuild | None) -> datetime:
    return (existing and existing.finished) or datetime.now(UTC)
