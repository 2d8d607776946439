"""Which platforms a builder cannot run: it publishes them, and leaves jobs for them to builders that can."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from builder.adapters.emulation import Emulators
from builder.domain.emulation import PLATFORMS, exclusions
from builder.settings import Settings, Where
from builder.steps import Steps
from swell.concurrency.periodic import every
from swell.containerfile import parse
from swell.errors import BadRequest, Unavailable
from swell.jobs.messages import BuildJob
from swell.store.workers.capabilities import WorkerCapabilities
from swell.store.workers.engines import EngineNames

PUBLISH_EVERY = timedelta(seconds=20)  # much shorter than the lifetime of the published record

Handle = Callable[[BuildJob, int], Awaitable[None]]


def missing_emulators(settings: Settings) -> dict[str, str]:
    """Describe what is missing to run steps, by architecture; of a cluster only the setting is known."""
    if settings.build_where is Where.KUBERNETES:
        return exclusions(settings.build_platforms)
    return Emulators(only=settings.build_platforms).missing_emulators()


class CapabilityRouter:
    """*missing* returns what this builder currently lacks, by architecture; *engine* is its name and version.

    While *steps* cannot run here, the builder lacks every architecture.
    """

    def __init__(
        self,
        capabilities: WorkerCapabilities,
        missing: Callable[[], Mapping[str, str]],
        engines: EngineNames | None = None,
        engine: str = "",
        steps: Steps | None = None,
    ) -> None:
        self._capabilities = capabilities
        self._lacking = missing
        self._steps = steps
        self._engines = engines
        self._engine = engine

    async def publish_forever(self) -> None:
        """Publish every `PUBLISH_EVERY` what is missing, until cancelled."""
        await every(PUBLISH_EVERY, self._publish, event="platforms not published")

    async def _publish(self) -> None:
        await self._capabilities.publish(self._missing())
        if self._engines and self._engine and not self._problem:
            await self._engines.publish(self._engine)

    def describe(self) -> dict[str, Any]:
        """What the operator sees: the engine, the platforms whose steps this builder runs, and what is missing."""
        missing = self._missing()
        return {
            "engine": self._engine,
            "platforms": tuple(name for architecture, name in PLATFORMS.items() if architecture not in missing),
            "missing": {} if self._problem else dict(missing),
            "problem": self._problem,
        }

    @property
    def _problem(self) -> str:
        return self._steps.problem if self._steps else ""

    def _missing(self) -> Mapping[str, str]:
        return dict.fromkeys(PLATFORMS, self._problem) if self._problem else self._lacking()

    async def take(self, handle: Handle, job: BuildJob, delivery: int) -> None:
        """Run *job* with *handle*, unless another builder can run its steps and this one cannot.

        Raises:
            Unavailable: another builder has to take the job, or steps cannot run here.
        """
        if self._problem and not job.packages and _runs_steps(job.containerfile):
            raise Unavailable(self._problem)
        if await self._is_for_others(job):
            raise Unavailable(f"the build {job.id} is for a builder that runs steps for {job.platform}")
        await handle(job, delivery)

    async def _is_for_others(self, job: BuildJob) -> bool:
        architecture = job.platform.split("/")[1]
        if job.packages or architecture not in self._missing() or not _runs_steps(job.containerfile):
            return False
        return any(architecture not in each for each in await self._capabilities.all())


def _runs_steps(containerfile: str) -> bool:
    """Whether the build runs a step; False for a file that cannot be read, which fails on every builder."""
    try:
        return parse(containerfile).runs_steps
    except BadRequest:
        return False
