"""Wait for the end of builds: events wake the waiting tasks, and the store is polled in case an event is lost."""

from swell.concurrency.notifier import Notifier
from swell.jobs.messages import BuildDone
from swell.store.builds import BuildRecords
from swell.store.records import BuildResult


class BuildWaiter:
    """Waits for the results of builds."""

    def __init__(self, builds: BuildRecords) -> None:
        self._builds = builds
        self._notifier = Notifier()

    def heard(self, done: BuildDone) -> None:
        """Wake the tasks that wait for this build."""
        self._notifier.notify(done.id)

    async def result(self, build_id: str) -> BuildResult | None:
        """Wait without a deadline until *build_id* has ended; None when its record is missing.

        Raises:
            Unavailable: the store does not answer.
        """
        build = await self._notifier.wait_until(
            build_id, lambda: self._builds.get(build_id), lambda build: build is None or build.result is not None
        )
        return build.result if build else None
