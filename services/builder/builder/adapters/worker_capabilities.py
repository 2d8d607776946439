"""The builders together: each tells what its machine lacks, and leaves to the others what only they can build."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from builder.adapters.emulation import Emulators
from builder.domain.emulation import left_out_of
from builder.settings import Settings, Where
from swell.containerfile import parse
from swell.errors import BadRequest, Unavailable
from swell.jobs.messages import BuildJob
from swell.log import log
from swell.store.engines import EngineNames
from swell.store.worker_capabilities import WorkerCapabilities

TELL_EVERY = timedelta(seconds=20)  # much less than what is told is believed

Handle = Callable[[BuildJob, int], Awaitable[None]]


def lacks(settings: Settings) -> dict[str, str]:
    """What the machines that build for us lack to run steps, by architecture; of a cluster we know what we are told."""
    if settings.build_where is Where.KUBERNETES:
        return left_out_of(settings.build_platforms)
    return Emulators(only=settings.build_platforms).lacks()


class Fleet:
    """*lacking* is what this builder lacks now: emulators come and go. *engine* names what builds container files."""

    def __init__(
        self,
        machines: WorkerCapabilities,
        lacking: Callable[[], Mapping[str, str]],
        engines: EngineNames | None = None,
        engine: str = "",
    ) -> None:
        self._machines = machines
        self._lacking = lacking
        self._engines = engines
        self._engine = engine

    async def telling(self) -> None:
        """Tell what we lack, now and then, for ever."""
        task = asyncio.current_task()
        while not (task and task.cancelling()):  # Redis's client may swallow a cancellation
            try:
                await self._machines.publish(self._lacking())
                if self._engines and self._engine:
                    await self._engines.publish(self._engine)
            except Unavailable as error:
                log.warning("cannot tell which platforms we run", error=str(error))
            await asyncio.sleep(TELL_EVERY.total_seconds())

    async def take(self, handle: Handle, job: BuildJob, delivery: int) -> None:
        """Have *job* done here, be it to say why it cannot be.

        Raises:
            Unavailable: another builder can do it and we cannot; it is for the next one who takes it.
        """
        if await self._is_for_others(job):
            raise Unavailable(f"the build {job.id} is for a builder that runs steps for {job.platform}")
        await handle(job, delivery)

    async def _is_for_others(self, job: BuildJob) -> bool:
        architecture = job.platform.split("/")[1]
        if job.packages or architecture not in self._lacking() or not _runs_steps(job.containerfile):
            return False
        return any(architecture not in each for each in await self._machines.all())


def _runs_steps(containerfile: str) -> bool:
    """Whether building it runs a step; a file that cannot be read fails here as on any other machine."""
    try:
        return parse(containerfile).runs_steps
    except BadRequest:
        return False
