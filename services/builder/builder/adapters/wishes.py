"""Whether somebody still wants a build: told by an event, looked up in the store in case the event was missed."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from functools import partial

from swell.errors import Unavailable
from swell.flights import Flights
from swell.jobs.messages import BuildUnwanted
from swell.log import log
from swell.store.builds import Builds

LOOK_AGAIN = 5.0  # seconds


class BuildWishes:
    def __init__(self, builds: Builds) -> None:
        self._builds = builds
        # A look goes on to its end when who waits is cancelled: Redis's client may swallow a cancellation.
        self._looks: Flights[str, bool] = Flights()
        self._news: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def heard(self, told: BuildUnwanted) -> None:
        """The build under way of that id, if there is one here, is looked after at once."""
        if news := self._news.get(told.id):
            news.set()

    async def unwanted(self, build_id: str) -> None:
        news = self._news[build_id]
        try:
            while True:
                news.clear()  # before looking: what is heard meanwhile counts
                if await self._looks.join(build_id, partial(self._is_cancelled, build_id)):
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN):
                        await news.wait()
        finally:
            self._news.pop(build_id, None)

    async def _is_cancelled(self, build_id: str) -> bool:
        try:
            build = await self._builds.get(build_id)
        except Unavailable as error:
            log.warning("cannot see whether a build is wanted", build_id=build_id, error=str(error))
            return False
        return build is not None and build.is_cancelled
