"""Waits for the cancellation of a build: an event announces it, and the store is polled in case the event is lost."""

from functools import partial

from swell.concurrency.notifier import Notifier
from swell.concurrency.single_flight import SingleFlight
from swell.errors import Unavailable
from swell.jobs.messages import BuildCancelled
from swell.log import log
from swell.store.builds import Builds


class BuildInterest:
    def __init__(self, builds: Builds) -> None:
        self._builds = builds
        # A request to Redis runs to its end when its caller is cancelled: the client may lose a cancellation.
        self._requests: SingleFlight[str, bool] = SingleFlight()
        self._notifier = Notifier()

    def on_cancelled(self, event: BuildCancelled) -> None:
        """Check the build of *event* immediately, if this process runs it."""
        self._notifier.notify(event.id)

    async def wait_until_cancelled(self, build_id: str) -> None:
        check = partial(self._is_cancelled, build_id)
        await self._notifier.wait_until(build_id, lambda: self._requests.run(build_id, check), bool)

    async def _is_cancelled(self, build_id: str) -> bool:
        try:
            build = await self._builds.get(build_id)
        except Unavailable as error:
            log.warning("cannot read whether a build is cancelled", build_id=build_id, error=str(error))
            return False
        return build is not None and build.is_cancelled
