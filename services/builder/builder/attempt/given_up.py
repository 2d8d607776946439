"""Builds whose jobs no builder could do: the dead letters of the queue."""

from datetime import UTC, datetime
from typing import Protocol

from builder.domain.failure import NO_EXIT_STATUS
from swell.jobs.messages import BuildDone
from swell.store.builds import Builds
from swell.store.records import BuildResult, Reason


class Events(Protocol):
    async def publish(self, event: BuildDone) -> None: ...


class GivenUpBuilds:
    """Ends builds whose jobs were given up, and opens them again when their jobs are replayed."""

    def __init__(self, builds: Builds, events: Events) -> None:
        self._builds = builds
        self._events = events

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

    async def recorded_result(self, build_id: str) -> BuildResult | None:
        """Return the result of *build_id*; a build that was given up is opened again, because its job was replayed."""
        build = await self._builds.get(build_id)
        if build and build.result and build.result.reason is Reason.GIVEN_UP:
            await self._builds.reopen(build_id)
            return None
        return build.result if build else None
