"""How builds end: told by an event, looked up in the store in case the event was missed."""

from swell.concurrency.notifier import Notifier
from swell.jobs.messages import BuildDone
from swell.store.builds import Builds
from swell.store.records import BuildResult


class BuildWaiter:
    def __init__(self, builds: Builds) -> None:
        self._builds = builds
        self._notifier = Notifier()

    def heard(self, done: BuildDone) -> None:
        """Whoever waits for this build looks at once."""
        self._notifier.notify(done.id)

    async def result(self, build_id: str) -> BuildResult | None:
        """Wait until *build_id* has ended, be it for ever; None when nothing is known of it any more.

        Raises:
            Unavailable: the store does not answer.
        """
        build = await self._notifier.wait_until(
            build_id, lambda: self._builds.get(build_id), lambda build: build is None or build.result is not None
        )
        return build.result if build else None
