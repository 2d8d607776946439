"""Run build jobs: an engine builds and pushes the image; the log, the result and an event are published."""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from typing import Protocol

from builder.attempt.cancellation import CANCELLED, Interest, unless_cancelled
from builder.attempt.given_up import Events, GivenUpBuilds
from builder.attempt.interrupted import InterruptedBuilds, Registry, Unpushed
from builder.attempt.job_files import Contexts, Secrets, fetch_recipe
from builder.domain.failure import BuildFailure
from builder.domain.lock_cutter import LockCutter
from builder.engine import Engine, ExistingBuild, Note, Recipe
from builder.measures import begun, ended, phase
from builder.provenance import masked, provenance_of
from swell.api.builds import BuildStep
from swell.concurrency.retry import retry_until_available
from swell.jobs.messages import BuildDone, BuildJob, IndexJob, MirrorJob
from swell.log import log
from swell.oci.digest import Digest
from swell.provenance import Evidence
from swell.store.builds import Builds
from swell.store.logs import lock_key, provenance_key
from swell.store.records import BuildResult, Reason, Submission

ATTEMPTS = 5  # a build that stops its builder is not tried more often


class Log(Protocol):
    async def write_line(self, line: bytes) -> None: ...

    async def write_step(self, step: BuildStep) -> None: ...

    def masked(self, text: str) -> str:
        """Return *text* with the secrets masked that the log masks."""

    def attach(self, key: str, content: bytes) -> None:
        """Store *content* as the object *key* when the log is stored."""


class Logs(Protocol):
    def open(self, build_id: str, attempt: int, secrets: Iterable[bytes] = ()) -> AbstractAsyncContextManager[Log]:
        """Open the log of an attempt; it is stored when the block ends without an exception.

        *secrets* of the build are masked, like those of the operator.
        """


class Assembly(Protocol):
    async def make(self, submission: Submission, build_log: Log) -> Digest:
        """Push the index of *submission* when its children are built, or copy its images; raises `BuildFailure`."""


class Leases(Protocol):
    def hold(self, build_id: str) -> AbstractAsyncContextManager[None]:
        """Hold the lease of *build_id* for the length of the block; raises `Unavailable` if another builder has it."""


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
        unpushed: Unpushed,
    ) -> None:
        self._engine = engine
        self._leases = leases
        self._interrupted = InterruptedBuilds(engine, registry, unpushed)
        self._builds = builds
        self._given_up = GivenUpBuilds(builds, events)
        self._logs = logs
        self._contexts = contexts
        self._secrets = secrets
        self._events = events
        self._assembly = assembly
        self._interest = interest

    async def build(self, job: BuildJob | IndexJob | MirrorJob, _delivery: int) -> None:
        """Run *job* unless its build has a result, and publish the result. A job that was given up is run again.

        Raises:
            Unavailable: a backend is unavailable; the job has to be delivered again.
        """
        async with self._leases.hold(job.id):
            result = await self._given_up.recorded_result(job.id) or await self._run_and_record(job)
        await self._events.publish(BuildDone.of(job.id, job, result))

    async def give_up(self, build_id: str, why: str) -> None:
        """Record that no builder can run the job of *build_id*, so that clients do not wait for it."""
        await self._given_up.give_up(build_id, why)

    async def _run_and_record(self, job: BuildJob | IndexJob | MirrorJob) -> BuildResult:
        result = await self._run(job)
        # Another attempt would replace the log, so the result is recorded even if that takes several tries.
        with phase(job, "record"):
            recorded = await retry_until_available(lambda: self._builds.finish(job.id, result))
        ended(job, recorded)
        seconds = round(recorded.duration.total_seconds(), 3)
        log.info("build ended", build_id=job.id, reason=recorded.reason, digest=recorded.digest, seconds=seconds)
        return recorded

    async def _run(self, job: BuildJob | IndexJob | MirrorJob) -> BuildResult:
        """Run *job*. Its files are downloaded first: a try that fails because of the store is not an attempt."""
        started = datetime.now(UTC)
        async with AsyncExitStack() as downloads:
            recipe = None
            if isinstance(job, BuildJob):
                with phase(job, "download"):
                    recipe = await fetch_recipe(job, self._contexts, self._secrets, downloads)
            attempt = await self._builds.begin(job.id)
            build = await self._builds.get(job.id)
            if build and build.result:  # it was cancelled before it began
                return build.result
            if build and attempt == 1:
                begun(job, build.submission.created, started)
            existing = await self._interrupted.find_running(recipe, attempt)
            started = existing.started if existing else started
            evidence = [Evidence()]
            secrets = recipe.secrets.values() if isinstance(recipe, Recipe) else ()
            async with self._logs.open(job.id, attempt, secrets) as build_log:
                try:
                    if build and build.is_cancelled:
                        raise BuildFailure(Reason.CANCELLED, CANCELLED)
                    if recipe and isinstance(job, BuildJob):
                        work = self._attempt(job, recipe, attempt, build_log, existing, evidence.append)
                    else:
                        work = self._assemble(job, attempt, build_log)
                    with phase(job, "run") as running:
                        digest = await unless_cancelled(self._interest, job.id, work)
                        if running:
                            running.attributes["swell.digest"] = digest
                    finished = _finished(existing)
                    if isinstance(job, BuildJob):
                        made = provenance_of(job, digest, evidence[-1], started, finished)
                        build_log.attach(provenance_key(job.id), masked(made, build_log.masked).encoded())
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
        return BuildResult(
            succeeded=True, exit_status=0, started=started, finished=finished, digest=digest, attempt=attempt
        )

    async def _assemble(self, job: BuildJob | IndexJob | MirrorJob, attempt: int, build_log: Log) -> Digest:
        if isinstance(job, MirrorJob) and attempt > ATTEMPTS:
            raise BuildFailure(Reason.ENGINE, f"The builder has stopped {ATTEMPTS} times in the middle of this mirror.")
        if (build := await self._builds.get(job.id)) is None:
            raise BuildFailure(Reason.ENGINE, "The record of this build has expired.")
        return await self._assembly.make(build.submission, build_log)

    async def _attempt(
        self,
        job: BuildJob,
        recipe: Recipe | BuildFailure,
        attempt: int,
        build_log: Log,
        existing: ExistingBuild | None,
        note: Note,
    ) -> Digest:
        if isinstance(recipe, BuildFailure):
            raise recipe
        if attempt > ATTEMPTS:
            raise BuildFailure(Reason.ENGINE, f"The builder has stopped {ATTEMPTS} times in the middle of this build.")
        if existing:
            message = b"(the builder stopped in the middle of this build, which went on; its log follows)"
            await build_log.write_line(message)
        elif digest := await self._interrupted.find_image(job, recipe, attempt, build_log):
            return digest
        return await self._build(recipe, build_log, note)

    async def _build(self, recipe: Recipe, build_log: Log, note: Note) -> Digest:
        """Build *recipe*. A lock file in the output is cut out of the log and stored separately."""
        cutter = LockCutter()

        async def write_line(line: bytes) -> None:
            for output in cutter.feed(line):
                await build_log.write_line(output)

        try:
            digest = await self._engine.build(recipe, write_line, build_log.write_step, note)
        finally:
            for output in cutter.end():
                await build_log.write_line(output)
        if cutter.lock:
            build_log.attach(lock_key(recipe.build_id), cutter.lock)
        return digest


def _finished(existing: ExistingBuild | None) -> datetime:
    return (existing and existing.finished) or datetime.now(UTC)
