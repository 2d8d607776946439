"""Build an image: a recipe goes to an engine, and comes back as the digest of what was pushed."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from builder.domain.failure import NO_STATUS, BuildFailure
from builder.domain.lock_cutter import LockCutter
from swell.build_spec import BuildSpec, carry
from swell.concurrency.retry import retry_until_available
from swell.errors import BlobUnknown
from swell.jobs.messages import BuildDone, BuildJob, Definition, IndexJob
from swell.log import log
from swell.oci.digest import Digest, hex_of
from swell.registry.principal import Principal
from swell.store.builds import Builds
from swell.store.records import BuildResult, Reason, Submission

ATTEMPTS = 5  # a job that has outlived so many builders is given up
CANCELLED = "The build was cancelled."

Tell = Callable[[bytes], Awaitable[None]]


class Recipe(BuildSpec, frozen=True, kw_only=True):
    """A build whose inputs are files on this machine.

    `context` is a gzipped tar file with a verified digest; without it the context contains only `conda.yml`, the text
    of `environment`, and `files`, which are added by name as they are. With `sif` the image is converted into a SIF
    file, which is pushed instead.
    """

    build_id: str
    platform: str = "linux/amd64"
    context: Path | None = None
    files: Mapping[str, Path] = {}
    sif: Definition | None = None


class Begun(Struct, frozen=True, kw_only=True):
    """A build that an earlier builder has begun and that still exists: when it started and, if so, finished."""

    started: datetime
    finished: datetime | None = None


class Engine(Protocol):
    """Makes and pushes images, within the limits of time, memory and disk that its settings tell.

    However a build ends, nothing of it is left: no process goes on, be it one that tried to escape; no file and no
    credentials are there any more soon after, for which nobody has to wait.
    """

    async def build(self, recipe: Recipe, tell: Tell) -> Digest:
        """Build and push *recipe*; the digest is that of the pushed manifest.

        Each line of the output is *tell*'s as soon as it is there: bytes as they came, without newline and colours, in
        pieces of at most 16 KiB; lines that come at once may be joined by newlines. A slow *tell* slows the build.
        Cancelling ends every process of the build.

        Raises:
            BuildFailure: there is no image; says why, and whose turn it is.
        """

    async def find(self, recipe: Recipe) -> Begun | None:
        """The build of *recipe* that an earlier builder has begun and that `build` would continue, with all its lines.

        Raises:
            Unavailable: where it runs does not answer.
        """


class Engines:
    """The engine for a recipe: what has packages needs no container."""

    def __init__(self, containers: Engine, packages: Engine) -> None:
        self._containers = containers
        self._packages = packages

    async def build(self, recipe: Recipe, tell: Tell) -> Digest:
        return await self._engine(recipe).build(recipe, tell)

    async def find(self, recipe: Recipe) -> Begun | None:
        return await self._engine(recipe).find(recipe)

    def _engine(self, recipe: Recipe) -> Engine:
        return self._packages if recipe.packages else self._containers


class Log(Protocol):
    async def tell(self, line: bytes) -> None: ...

    def masked(self, text: str) -> str:
        """*text* without the secrets that the log does not show either."""


class Logs(Protocol):
    def open(self, build_id: str, attempt: int) -> AbstractAsyncContextManager[Log]:
        """The log of an attempt to build; leaving the block without an exception keeps it."""

    async def keep_lock(self, build_id: str, lock: bytes) -> None:
        """Keep the lock file of a build beside its log."""


class Contexts(Protocol):
    def fetch(self, digest: Digest) -> AbstractAsyncContextManager[Path]:
        """The gzipped tar *digest* as a file, for the length of the block; raises `BlobUnknown`."""


class Registry(Protocol):
    async def pushed(self, target_image: str, principal: Principal) -> Digest | None:
        """The digest of *target_image* that *principal* sees; raises `BuildFailure` when the registry does not say."""


class Assembly(Protocol):
    async def make(self, wanted: Submission, told: Log) -> Digest:
        """Push the index that *wanted* is, once its children are there; raises `BuildFailure`."""


class Claims(Protocol):
    def hold(self, build_id: str) -> AbstractAsyncContextManager[None]:
        """Be the only one at *build_id* for the length of the block; raises `Unavailable` when somebody else is."""


class News(Protocol):
    async def tell(self, event: BuildDone) -> None: ...


class Wishes(Protocol):
    async def unwanted(self, build_id: str) -> None:
        """Wait until nobody wants *build_id* any more, be it for ever."""


class Building:
    """Builds what jobs ask for. However often a job is delivered, its build has one result."""

    def __init__(
        self,
        engine: Engine,
        builds: Builds,
        claims: Claims,
        logs: Logs,
        contexts: Contexts,
        registry: Registry,
        news: News,
        assembly: Assembly,
        wishes: Wishes,
    ) -> None:
        self._engine = engine
        self._claims = claims
        self._registry = registry
        self._builds = builds
        self._logs = logs
        self._contexts = contexts
        self._news = news
        self._assembly = assembly
        self._wishes = wishes

    async def build(self, job: BuildJob | IndexJob, _delivery: int) -> None:
        """Do *job*, record how it ended and tell everybody; one that was given up and is asked for again is built anew.

        Raises:
            Unavailable: something that we stand on is away; the job is to be tried again.
        """
        async with self._claims.hold(job.id):
            result = await self._ended(job.id) or await self._begin(job)
        await self._news.tell(BuildDone.of(job.id, job, result))

    async def _ended(self, build_id: str) -> BuildResult | None:
        """How the build ended if it did; being given up is no end for whoever is asked again."""
        known = await self._builds.get(build_id)
        if known and known.result and known.result.reason is Reason.GIVEN_UP:
            await self._builds.reopen(build_id)
            return None
        return known.result if known else None

    async def _begin(self, job: BuildJob | IndexJob) -> BuildResult:
        ended = await self._result(job)
        result = await retry_until_available(
            lambda: self._builds.finish(job.id, ended)
        )  # another attempt would replace the log
        seconds = round(result.duration.total_seconds(), 3)
        log.info("build ended", build_id=job.id, reason=result.reason, digest=result.digest, seconds=seconds)
        return result

    async def give_up(self, build_id: str, why: str) -> None:
        """No builder can do the job of *build_id*: it ends as failed, so that nobody waits for it.

        Raises:
            Unavailable: that cannot be recorded just now.
        """
        if (build := await self._builds.get(build_id)) is None:
            return
        now = datetime.now(UTC)
        result = BuildResult(
            succeeded=False,
            exit_status=NO_STATUS,
            started=now,
            finished=now,
            reason=Reason.GIVEN_UP,
            message=f"No builder could do this job: it {why}.",
        )
        result = await self._builds.finish(build_id, result)
        await self._news.tell(BuildDone.of(build_id, build.submission, result))

    async def _result(self, job: BuildJob | IndexJob) -> BuildResult:
        """How *job* ends. What it needs is fetched first: while the store is away, that is no attempt."""
        started = datetime.now(UTC)
        async with AsyncExitStack() as fetched:
            recipe = await self._recipe(job, fetched) if isinstance(job, BuildJob) else None
            attempt = await self._builds.begin(job.id)
            known = await self._builds.get(job.id)
            if known and known.result:  # it was cancelled in this moment, before it began
                return known.result
            begun = await self._begun(recipe, attempt)
            started = begun.started if begun else started
            async with self._logs.open(job.id, attempt) as told:
                try:
                    if known and known.is_cancelled:
                        raise BuildFailure(Reason.CANCELLED, CANCELLED)
                    work = self._attempt(job, recipe, attempt, told, begun) if recipe else self._assemble(job, told)
                    digest = await self._while_wanted(job.id, work)
                except BuildFailure as failure:
                    await told.tell(f"The build failed: {failure}".encode())
                    return BuildResult(
                        succeeded=False,
                        exit_status=failure.exit_status,
                        started=started,
                        finished=_finished(begun),
                        reason=failure.reason,
                        message=told.masked(str(failure)),
                        attempt=attempt,
                    )
        return BuildResult(
            succeeded=True, exit_status=0, started=started, finished=_finished(begun), digest=digest, attempt=attempt
        )

    async def _begun(self, recipe: Recipe | BuildFailure | None, attempt: int) -> Begun | None:
        """The build of an earlier attempt, if it goes on without its builder."""
        if attempt == 1 or not isinstance(recipe, Recipe):
            return None
        return await self._engine.find(recipe)

    async def _recipe(self, job: BuildJob, fetched: AsyncExitStack) -> Recipe | BuildFailure:
        try:
            return carry(
                job,
                Recipe,
                build_id=job.id,
                context=await self._fetch(job.context, fetched) if job.context else None,
                files={f"layer-{hex_of(layer)}.tar.gz": await self._fetch(layer, fetched) for layer in job.layers},
                sif=job.sif,
            )
        except BuildFailure as failure:
            return failure

    async def _assemble(self, job: BuildJob | IndexJob, told: Log) -> Digest:
        if (build := await self._builds.get(job.id)) is None:
            raise BuildFailure(Reason.ENGINE, "Nothing is known any more of what was to be built.")
        return await self._assembly.make(build.submission, told)

    async def _while_wanted(self, build_id: str, work: Coroutine[Any, Any, Digest]) -> Digest:
        """Do *work*, but no longer than somebody wants *build_id*; nothing of it goes on then."""
        working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(self._wishes.unwanted(build_id))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise BuildFailure(Reason.CANCELLED, CANCELLED)
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def _attempt(
        self,
        job: BuildJob | IndexJob,
        recipe: Recipe | BuildFailure,
        attempt: int,
        told: Log,
        begun: Begun | None,
    ) -> Digest:
        if isinstance(recipe, BuildFailure):
            raise recipe
        if attempt > ATTEMPTS:
            raise BuildFailure(Reason.ENGINE, f"The builder has stopped {ATTEMPTS} times in the middle of this build.")
        if begun:
            await told.tell(b"(the builder stopped in the middle of this build, which went on; its log follows)")
        elif attempt > 1 and (digest := await self._again(job, attempt, told)):
            return digest
        return await self._build(recipe, told)

    async def _again(self, job: BuildJob | IndexJob, attempt: int, told: Log) -> Digest | None:
        """Begin another attempt; answers the digest of the image when the last one came as far as pushing it."""
        if digest := await self._registry.pushed(job.target_image, job.push_principal):
            await told.tell(b"(the builder stopped in the middle of this build, after it had pushed the image)")
            return digest
        await told.tell(f"(the builder stopped in the middle of this build; attempt {attempt} begins)".encode())
        return None

    async def _build(self, recipe: Recipe, told: Log) -> Digest:
        """Build *recipe*; the lock file that it prints is kept for itself, not in the log."""
        cutter = LockCutter()

        async def tell(line: bytes) -> None:
            for output in cutter.feed(line):
                await told.tell(output)

        try:
            digest = await self._engine.build(recipe, tell)
        finally:
            for output in cutter.end():
                await told.tell(output)
        if cutter.lock:
            await self._logs.keep_lock(recipe.build_id, cutter.lock)
        return digest

    async def _fetch(self, digest: Digest, fetched: AsyncExitStack) -> Path:
        try:
            return await fetched.enter_async_context(self._contexts.fetch(digest))
        except BlobUnknown as error:
            message = "The build context or a layer is not kept here any more; send it again."
            raise BuildFailure(Reason.CONTEXT, message) from error


def _finished(begun: Begun | None) -> datetime:
    return (begun and begun.finished) or datetime.now(UTC)
