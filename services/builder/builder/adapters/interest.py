"""Whether somebody still wants a build: told by an event, looked up in the store in case the event was missed."""

from functools import partial

from swell.concurrency.notifier import Notifier
from swell.concurrency.single_flight import SingleFlight
from swell.errors import Unavailable
from swell.jobs.messages import BuildCancelled
from swell.log import log
from swell.store.builds import Builds


class BuildWishes:
    def __init__(self, builds: Builds) -> None:
        self._builds = builds
        # A look goes on to its end when who waits is cancelled: Redis's client may swallow a cancellation.
        self._looks: SingleFlight[str, bool] = SingleFlight()
        self._notifier = Notifier()

    def heard(self, told: BuildCancelled) -> None:
        """The build under way of that id, if there is one here, is looked after at once."""
        self._notifier.notify(told.id)

    async def unwanted(self, build_id: str) -> None:
        look = partial(self._is_cancelled, build_id)
        await self._notifier.wait_until(build_id, lambda: self._looks.run(build_id, look), bool)

    async def _is_cancelled(self, build_id: str) -> bool:
        try:
            build = await self._builds.get(build_id)
        except Unavailable as error:
            log.warning("cannot see whether a build is wanted", build_id=build_id, error=str(error))
            return False
        return build is not None and build.is_cancelled
