"""A job becomes a recipe, and what the engine says becomes a log, a lock file and a result."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

from builder.adapters.inputs.build_secrets import AllSecrets, BuildSecrets
from builder.attempt.given_up import Events
from builder.build import BuildRunner
from builder.domain.build_key import key_of
from builder.domain.failure import BuildFailure
from builder.engine import (
    Engine,
    Engines,
    ExistingBuild,
    Note,
    Recipe,
    WriteLine,
    WriteStep,
    ignore,
    ignore_step,
)
from swell.api.builds import BuildStep
from swell.api.containers import BuildOptions
from swell.api.package_layers import PackageLayers
from swell.concurrency import retry
from swell.errors import BlobUnknown, NotFound, Unavailable
from swell.jobs.messages import BuildDone, BuildJob
from swell.oci.digest import Digest, digest_of
from swell.provenance import Evidence, Material, parse_provenance
from swell.registry.credentials.principal import OPERATOR, Principal
from swell.store.builds.memory import MemoryBuilds
from swell.store.logs import lock_key, provenance_key
from swell.store.records import NO_ATTEMPT, BuildResult, Reason, Submission

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MADE, LAYER, CONTEXT = digest_of(b"made"), digest_of(b"layer"), digest_of(b"context")
STEP = BuildStep(number=1, name="[1/1] RUN true", started=NOON)
SAID = (b"before", b">> CONDA_LOCK_START", b"@EXPLICIT", b"<< CONDA_LOCK_END", b"after")


class ScriptedEngine:
    """Says its lines, then succeeds or fails."""

    def __init__(self, failure: BuildFailure | None = None, lines: tuple[bytes, ...] = SAID) -> None:
        self._failure = failure
        self._lines = lines
        self.recipes: list[Recipe] = []
        self.left: ExistingBuild | None = None
        self.evidence = Evidence()

    async def find(self, recipe: Recipe) -> ExistingBuild | None:
        return self.left

    async def build(
        self, recipe: Recipe, write_line: WriteLine, write_step: WriteStep = ignore_step, note: Note = ignore, /
    ) -> Digest:
        self.recipes.append(recipe)
        for line in self._lines:
            await write_line(line)
        await write_step(STEP)
        if self._failure:
            raise self._failure
        note(self.evidence)
        return MADE


class MemoryLogs:
    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.steps: list[BuildStep] = []
        self.masked_secrets: list[bytes] = []
        self.attached: dict[str, bytes] = {}

    @asynccontextmanager
    async def open(self, build_id: str, attempt: int, secrets: Iterable[bytes] = ()) -> AsyncIterator["MemoryLogs"]:
        self.masked_secrets = list(secrets)
        yield self

    async def write_line(self, line: bytes) -> None:
        self.lines.append(line)

    async def write_step(self, step: BuildStep) -> None:
        self.steps.append(step)

    def masked(self, text: str) -> str:
        return text.replace("hunter2", "***")

    def attach(self, key: str, content: bytes) -> None:
        self.attached[key] = content


class FewContexts:
    """Has what it was given."""

    def __init__(self, *kept: Digest) -> None:
        self._kept = kept

    @asynccontextmanager
    async def fetch(self, digest: Digest) -> AsyncIterator[Path]:
        if digest not in self._kept:
            raise BlobUnknown
        yield Path(digest)


class Pushed:
    """A registry that has one image, or none."""

    def __init__(self, digest: Digest | None = None, failure: BuildFailure | None = None) -> None:
        self._digest = digest
        self._failure = failure

    async def pushed(self, target_image: str, principal: Principal) -> Digest | None:
        if self._failure:
            raise self._failure
        return self._digest


class Unpushed:
    """Has an image that could not be pushed, or none; `asked` counts."""

    def __init__(self, digest: Digest | None = None) -> None:
        self._digest = digest
        self.asked = 0

    async def push(self, recipe: Recipe, write_line: WriteLine) -> Digest | None:
        self.asked += 1
        return self._digest


class FreeLeases:
    """This builder is alone."""

    @asynccontextmanager
    async def hold(self, build_id: str) -> AsyncIterator[None]:
        yield


class NoEvents:
    async def publish(self, event: BuildDone) -> None:
        """No subscriber."""


class NoAssembly:
    """Nothing here is built for several platforms."""

    async def make(self, wanted: Submission, build_log: object) -> Digest:
        raise NotImplementedError


class Wanted:
    """A build that is wanted until *is_not* is set."""

    def __init__(self) -> None:
        self.is_not = asyncio.Event()

    async def wait_until_cancelled(self, build_id: str) -> None:
        await self.is_not.wait()


JOB = BuildJob(id="bd-1_1", target_image="r/x:1", containerfile="FROM a\n", platform="linux/amd64")
FROZEN = BuildJob(
    id="bd-1_1",
    target_image="r/x:1",
    containerfile="FROM a\n",
    platform="linux/amd64",
    context=CONTEXT,
    environment="dependencies: []\n",
    layers=(LAYER,),
)


def runner_of(
    engine: Engine,
    builds: MemoryBuilds,
    logs: MemoryLogs | None = None,
    contexts: FewContexts | None = None,
    *,
    pushed: Pushed | None = None,
    events: Events | None = None,
    wanted: Wanted | None = None,
    secrets: tuple[str, ...] = (),
    unpushed: Unpushed | None = None,
) -> BuildRunner:
    """A builder alone in the world; what is not given has nothing in it."""
    return BuildRunner(
        engine,
        builds,
        FreeLeases(),
        logs or MemoryLogs(),
        contexts or FewContexts(),
        AllSecrets(BuildSecrets(secrets), find_stored),
        pushed or Pushed(),
        events or NoEvents(),
        NoAssembly(),
        wanted or Wanted(),
        unpushed or Unpushed(),
    )


async def result_of(
    job: BuildJob,
    engine: Engine,
    logs: MemoryLogs,
    contexts: FewContexts | None = None,
    secrets: tuple[str, ...] = (),
) -> BuildResult:
    class Finished(MemoryBuilds):
        async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
            results.append(result)
            return result

    results: list[BuildResult] = []
    house = runner_of(engine, Finished(), logs, contexts, secrets=secrets)
    await house.build(job, 1)
    return results[0]


async def test_the_lock_file_is_kept_beside_the_log() -> None:
    """Readers of the log need not scroll past a thousand addresses."""
    logs = MemoryLogs()
    result = await result_of(JOB, ScriptedEngine(), logs)
    assert result.succeeded
    assert logs.lines == [b"before", b"after"]
    assert logs.attached[lock_key("bd-1_1")] == b"@EXPLICIT\n"


async def test_steps_reach_the_log() -> None:
    """A watcher shows how far a build is without reading its lines."""
    logs = MemoryLogs()
    await result_of(JOB, ScriptedEngine(), logs)
    assert logs.steps == [STEP]


async def test_a_failed_build_has_no_lock_file() -> None:
    """What it would lock is no image."""
    logs = MemoryLogs()
    result = await result_of(JOB, ScriptedEngine(BuildFailure(Reason.PUSH, "no room")), logs)
    assert result.reason is Reason.PUSH
    assert lock_key("bd-1_1") not in logs.attached


async def test_the_reason_of_a_failure_shows_no_secret_either() -> None:
    """It stands in the status, in pulls and in the last event of the log."""
    failure = BuildFailure(Reason.RECIPE, "The step 'RUN echo hunter2' ended with exit status 1.")
    result = await result_of(JOB, ScriptedEngine(failure), MemoryLogs())
    assert result.message == "The step 'RUN echo ***' ended with exit status 1."


async def test_the_log_of_a_build_that_breaks_in_its_lock_file_is_whole() -> None:
    """The last lines are those that matter."""
    logs = MemoryLogs()
    await result_of(JOB, ScriptedEngine(BuildFailure(Reason.RECIPE, "no cat"), SAID[:3]), logs)
    assert logs.lines[:3] == list(SAID[:3])


async def test_everything_of_the_context_is_in_the_recipe() -> None:
    """An archive, the environment's file, and layers by the names that the container file has for them."""
    engine = ScriptedEngine()
    await result_of(FROZEN, engine, MemoryLogs(), FewContexts(CONTEXT, LAYER))
    (recipe,) = engine.recipes
    assert recipe.context == Path(CONTEXT)
    assert recipe.environment == "dependencies: []\n"
    assert recipe.files == {f"layer-{LAYER.removeprefix('sha256:')}.tar.gz": Path(LAYER)}


async def test_the_client_receives_the_error_of_a_missing_layer() -> None:
    """Stored blobs expire; the client can send the layer again."""
    result = await result_of(FROZEN, ScriptedEngine(), MemoryLogs(), FewContexts(CONTEXT))
    assert result.reason is Reason.CONTEXT


SUBMISSION = Submission(
    container_id="1", target_image="r/x:1", containerfile="FROM a\n", platform="linux/amd64", created=datetime.now(UTC)
)


async def test_a_finished_push_is_not_repeated() -> None:
    """A builder that died after its push left the image; its name says what is in it, so it is the one."""
    builds, engine = MemoryBuilds(), ScriptedEngine()
    build_id, _ = await builds.submit(SUBMISSION)
    await builds.begin(build_id)

    job = structs.replace(JOB, id=build_id)
    await runner_of(engine, builds, pushed=Pushed(MADE)).build(job, 2)

    build = await builds.get(build_id)
    assert build
    assert build.result
    assert (build.result.digest, engine.recipes) == (MADE, [])


@pytest.mark.parametrize("mark", ["is_repeated", "is_rebuild"])
async def test_the_image_of_an_earlier_build_is_not_taken_for_a_finished_push(mark: str) -> None:
    """When an image is built again, its tag exists from the beginning."""
    builds, engine = MemoryBuilds(), ScriptedEngine()
    build_id, _ = await builds.submit(SUBMISSION)
    await builds.begin(build_id)

    job = structs.replace(JOB, id=build_id, **{mark: True})
    await runner_of(engine, builds, pushed=Pushed(MADE)).build(job, 2)

    assert len(engine.recipes) == 1


@pytest.mark.parametrize(("earlier", "is_built"), [(1, True), (4, True), (5, False), (50, False)])
async def test_a_build_that_stops_its_builder_is_tried_five_times(earlier: int, is_built: bool) -> None:
    """A build that kills its builder would otherwise take down one builder after the other."""
    builds, engine, logs = MemoryBuilds(), ScriptedEngine(), MemoryLogs()
    build_id, _ = await builds.submit(SUBMISSION)
    for _ in range(earlier):
        await builds.begin(build_id)

    await runner_of(engine, builds, logs).build(structs.replace(JOB, id=build_id), 1)

    build = await builds.get(build_id)
    assert build
    assert build.result
    assert (build.result.succeeded, len(engine.recipes)) == (is_built, int(is_built))
    assert build.result.attempt == earlier + 1
    if is_built:
        assert f"attempt {earlier + 1} begins" in logs.lines[0].decode()
    else:
        assert build.result.reason is Reason.ENGINE
        assert build.result.message == "The builder has stopped 5 times in the middle of this build."


@pytest.mark.parametrize("failure", [None, BuildFailure(Reason.RECIPE, "a step failed", 1)])
async def test_a_build_that_went_on_without_its_builder_has_its_own_times(failure: BuildFailure | None) -> None:
    """Its log is whole as well, although its image is in the registry already."""
    builds, engine, logs = MemoryBuilds(), ScriptedEngine(failure, (b"line",)), MemoryLogs()
    engine.left = ExistingBuild(started=NOON, finished=NOON + timedelta(minutes=3))
    build_id, _ = await builds.submit(SUBMISSION)
    await builds.begin(build_id)

    await runner_of(engine, builds, logs, pushed=Pushed(MADE)).build(structs.replace(JOB, id=build_id), 2)

    build = await builds.get(build_id)
    assert build
    assert build.result
    assert (build.result.started, build.result.duration) == (NOON, timedelta(minutes=3))
    assert b"line" in logs.lines
    assert build.result.succeeded is (failure is None)


async def test_an_end_is_recorded_when_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is not begun again for that: nothing of its log would be left."""

    class Away(MemoryBuilds):
        refusals = 3

        async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
            if self.refusals:
                self.refusals -= 1
                raise Unavailable
            return await super().finish(build_id, result)

    monkeypatch.setattr(retry, "PAUSES", (0.01, 0.02))
    builds, engine = Away(), ScriptedEngine()
    build_id, _ = await builds.submit(SUBMISSION)
    await runner_of(engine, builds).build(structs.replace(JOB, id=build_id), 1)

    build = await builds.get(build_id)
    assert build
    assert build.result
    assert (build.result.attempt, len(engine.recipes)) == (1, 1)


async def test_waiting_for_what_we_stand_on_is_no_attempt() -> None:
    """However often a job is delivered: only a build that began and did not end has stopped in the middle."""
    builds = MemoryBuilds()
    build_id, _ = await builds.submit(SUBMISSION)

    job = structs.replace(JOB, id=build_id)
    await runner_of(ScriptedEngine(), builds).build(job, 50)

    build = await builds.get(build_id)
    assert build
    assert build.result
    assert build.result.succeeded


async def test_a_job_that_was_given_up_ends_its_build_and_may_be_replayed() -> None:
    """Clients do not wait for dead letters; when the job is replayed, the build gets a new result."""
    builds = MemoryBuilds()
    build_id, _ = await builds.submit(SUBMISSION)
    building = runner_of(ScriptedEngine(), builds)

    await building.give_up(build_id, "cannot be read")
    given_up = await builds.get(build_id)
    await building.build(structs.replace(JOB, id=build_id), 1)
    built = await builds.get(build_id)

    assert given_up
    assert given_up.result
    assert given_up.result.reason is Reason.GIVEN_UP
    assert built
    assert built.result
    assert built.result.succeeded


async def test_packages_go_to_the_engine_that_needs_no_container() -> None:
    """And container files to the one that has them."""

    class Named:
        def __init__(self, name: str) -> None:
            self.digest = digest_of(name.encode())

        async def build(
            self, recipe: Recipe, write_line: WriteLine, write_step: WriteStep = ignore_step, note: Note = ignore, /
        ) -> Digest:
            return self.digest

        async def find(self, recipe: Recipe) -> ExistingBuild | None:
            return ExistingBuild(started=NOON) if self is containers else None

    async def say_nothing(line: bytes) -> None:
        """Discard the line."""

    containers, packages = Named("containers"), Named("packages")
    engines = Engines(containers, packages)
    plain = Recipe(build_id="bd-0_1", target_image="r.example.org/x:1", containerfile="FROM scratch")
    layers = structs.replace(plain, packages=PackageLayers(base_image="scratch", lock=""))
    assert await engines.build(plain, say_nothing) == containers.digest
    assert await engines.build(layers, say_nothing) == packages.digest
    assert (await engines.find(plain), await engines.find(layers)) == (ExistingBuild(started=NOON), None)


class SlowEngine(ScriptedEngine):
    """Never ends; `was_stopped` is set when it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.was_stopped = asyncio.Event(), False

    async def build(
        self, recipe: Recipe, write_line: WriteLine, write_step: WriteStep = ignore_step, note: Note = ignore, /
    ) -> Digest:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # an engine takes its time to end processes
            self.was_stopped = True
        return MADE


class RecordedEvents:
    def __init__(self) -> None:
        self.events: list[BuildDone] = []

    async def publish(self, event: BuildDone) -> None:
        self.events.append(event)


async def submitted(builds: MemoryBuilds) -> BuildJob:
    """The job of a build that one request wants."""
    submission = Submission(
        container_id="1", target_image="r/x:1", containerfile="FROM a\n", platform="linux/amd64", created=NOON
    )
    build_id, _ = await builds.submit(submission)
    await builds.release("", 1)
    await builds.add_interest(build_id, "r1", "")
    return structs.replace(JOB, id=build_id)


async def cancel(builds: MemoryBuilds, job: BuildJob) -> None:
    taken_out = BuildResult(
        succeeded=False, exit_status=-1, started=NOON, finished=NOON, reason=Reason.CANCELLED, attempt=NO_ATTEMPT
    )
    await builds.cancel(job.id, taken_out, request_id="r1", user="", all_requests=False)


async def test_a_build_without_interest_is_ended_and_cancelled() -> None:
    """Its engine is stopped before anything is recorded; its log is kept."""
    builds, engine, logs, events, wanted = MemoryBuilds(), SlowEngine(), MemoryLogs(), RecordedEvents(), Wanted()
    job = await submitted(builds)
    building = asyncio.create_task(runner_of(engine, builds, logs, events=events, wanted=wanted).build(job, 1))
    await engine.begun.wait()
    await cancel(builds, job)
    wanted.is_not.set()
    await building

    build = await builds.get(job.id)
    assert engine.was_stopped
    assert build and build.result and build.result.reason is Reason.CANCELLED
    assert b"cancelled" in logs.lines[-1]
    assert [event.begun for event in events.events] == [True]


async def test_a_build_that_was_taken_out_of_the_queue_is_not_begun() -> None:
    """Its job may be delivered already; the build is not counted."""
    builds, engine, events = MemoryBuilds(), ScriptedEngine(), RecordedEvents()
    job = await submitted(builds)
    await cancel(builds, job)

    await runner_of(engine, builds, events=events).build(job, 1)

    assert engine.recipes == []
    assert [event.begun for event in events.events] == [False]


async def test_a_builder_that_is_stopped_stops_its_engine_and_records_nothing() -> None:
    """The job goes to another builder."""
    builds, engine = MemoryBuilds(), SlowEngine()
    job = await submitted(builds)
    building = asyncio.create_task(runner_of(engine, builds).build(job, 1))
    await engine.begun.wait()
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building

    build = await builds.get(job.id)
    assert engine.was_stopped
    assert build and build.result is None


async def test_an_engine_gets_the_secrets_of_its_build_and_the_log_masks_them(tmp_path: Path) -> None:
    """By the ids in the container file; no other secret of the operator is read."""
    (tmp_path / "npm").write_bytes(b"hunter3\n")
    job = structs.replace(JOB, options=BuildOptions(build_secrets={"token": "npm"}))
    engine, logs = ScriptedEngine(), MemoryLogs()

    result = await result_of(job, engine, logs, secrets=(f"npm={tmp_path}/npm", f"pip={tmp_path}/missing"))

    assert result.succeeded
    assert engine.recipes[0].secrets == {"token": b"hunter3\n"}
    assert logs.masked_secrets == [b"hunter3\n"]


async def find_stored(name: str) -> bytes:
    """The one secret in the vaults of users."""
    if name != "vault.0a":
        raise NotFound
    return b"hunter4"


async def test_an_engine_gets_secrets_from_vaults(tmp_path: Path) -> None:
    """Beside those of the operator; the log masks them, too. One that was deleted is the client's to mend."""
    (tmp_path / "npm").write_bytes(b"hunter3")
    engine, logs, files = ScriptedEngine(), MemoryLogs(), (f"npm={tmp_path}/npm",)
    job = structs.replace(JOB, options=BuildOptions(build_secrets={"a": "vault.0a", "b": "npm"}))
    result = await result_of(job, engine, logs, secrets=files)
    gone = structs.replace(JOB, options=BuildOptions(build_secrets={"a": "vault.0b"}))
    failed = await result_of(gone, engine, MemoryLogs(), secrets=files)

    assert result.succeeded
    assert engine.recipes[0].secrets == {"a": b"hunter4", "b": b"hunter3"}
    assert sorted(logs.masked_secrets) == [b"hunter3", b"hunter4"]
    assert failed.reason is Reason.RECIPE
    assert "does not exist any more" in failed.message


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"", "must have 1 to 65536 bytes"), (b"x" * 65537, "must have 1 to 65536 bytes")],
)
async def test_a_secret_that_cannot_be_used_is_the_operators_to_mend(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    """The engine is not started; the message names the secret, not its path."""
    if content is not None:
        (tmp_path / "npm").write_bytes(content)
    engine = ScriptedEngine()
    results = [
        await result_of(
            structs.replace(JOB, options=BuildOptions(build_secrets={"token": name})),
            engine,
            MemoryLogs(),
            secrets=(f"npm={tmp_path}/npm",),
        )
        for name in ("npm", "other")
    ]

    assert [result.reason for result in results] == [Reason.ENGINE, Reason.ENGINE]
    assert message in results[0].message and "npm" in results[0].message
    assert "SWELL_BUILD_SECRETS" in results[1].message
    assert not engine.recipes
    assert str(tmp_path) not in results[0].message


async def test_the_provenance_of_a_build_is_stored() -> None:
    """Its inputs, and what the engine knows; secrets that the log masks are masked here too."""
    engine, logs = ScriptedEngine(), MemoryLogs()
    base = Material("docker.io/library/a:latest", digest_of(b"a"))
    definition = {"a": [{"b": "with hunter2 in it"}], "n": 1}
    engine.evidence = Evidence(materials=(base,), definition=definition)

    result = await result_of(FROZEN, Engines(engine, engine, "buildkit 1"), logs, FewContexts(CONTEXT, LAYER))

    stored = parse_provenance(logs.attached[provenance_key(FROZEN.id)])
    assert stored
    assert (stored.image, stored.digest, stored.started, stored.ended) == (
        *(FROZEN.target_image, MADE),
        *(result.started, result.finished),
    )
    assert (stored.inputs.context, stored.inputs.layers) == (CONTEXT, (LAYER,))
    assert (stored.evidence.engine, stored.evidence.materials) == ("buildkit 1", (base,))
    assert stored.evidence.definition == {"a": [{"b": "with *** in it"}], "n": 1}


async def test_a_failed_build_has_no_provenance() -> None:
    """There is no image that it would describe."""
    logs = MemoryLogs()
    await result_of(JOB, ScriptedEngine(BuildFailure(Reason.RECIPE, "no")), logs)
    assert not logs.attached


@pytest.mark.parametrize(("build_id", "attempts", "asked"), [("bd-1_1", 1, 0), ("bd-1_1", 2, 1), ("bd-1_2", 1, 1)])
async def test_an_image_that_could_not_be_pushed_is_pushed_without_building(
    build_id: str, attempts: int, asked: int
) -> None:
    """An earlier attempt or build may have made it; the first attempt of the first build does not ask the store."""
    builds, engine, unpushed = MemoryBuilds(), ScriptedEngine(), Unpushed(MADE)
    for _ in range(attempts - 1):
        await builds.begin(build_id)
    job = structs.replace(JOB, id=build_id)
    await runner_of(engine, builds, unpushed=unpushed).build(job, 1)

    assert (unpushed.asked, len(engine.recipes)) == (asked, 1 - asked)


async def test_an_attempt_during_an_outage_of_the_registry_builds_again() -> None:
    """Whether the last attempt has pushed the image is unknown; that is no reason to fail."""
    builds, engine = MemoryBuilds(), ScriptedEngine()
    await builds.begin(JOB.id)
    away = BuildFailure(Reason.PUSH, "no connection", is_temporary=True)
    await runner_of(engine, builds, pushed=Pushed(failure=away)).build(JOB, 2)

    assert len(engine.recipes) == 1


def test_jobs_with_other_principals_or_inputs_have_other_keys() -> None:
    """A stored image is pushed only for the same build; its id and the organisation do not matter."""
    same = structs.replace(JOB, id="bd-1_7", organisation="acme.org")
    others = [
        structs.replace(JOB, principal=OPERATOR),
        structs.replace(JOB, push_principal=OPERATOR),
        structs.replace(JOB, context=CONTEXT),
        structs.replace(JOB, target_image="r/x:2"),
    ]

    assert key_of(same) == key_of(JOB)
    assert len({key_of(job) for job in (JOB, *others)}) == 1 + len(others)
