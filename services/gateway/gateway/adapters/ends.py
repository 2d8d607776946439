"""How builds end: told by an event, looked up in the store in case the event was missed."""

import asyncio
import contextlib
from collections import defaultdict
from datetime import timedelta

from cachetools import LRUCache

from swell.errors import BuildFailed, Unavailable
from swell.flights import Flights
from swell.jobs.messages import BuildDone
from swell.store.builds import Builds
from swell.store.records import BuildResult

LOOK_AGAIN = 2.0  # seconds; an event can be missed while the connection is down


class BuildEnds:
    """Waits for builds, once for each however many ask."""

    def __init__(self, builds: Builds, patience: timedelta) -> None:
        self._builds = builds
        self._patience = patience.total_seconds()
        self._known: LRUCache[str, BuildResult] = LRUCache(10_000)
        self._flights: Flights[str, BuildResult] = Flights()
        self._news: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def result(self, build_id: str) -> BuildResult:
        if known := self._known.get(build_id):
            return known
        return await self._flights.join(build_id, lambda: self._wait(build_id))

    def heard(self, done: BuildDone) -> None:
        """Whoever waits for this build looks at once."""
        if news := self._news.get(done.id):
            news.set()

    async def _wait(self, build_id: str) -> BuildResult:
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    news = self._news[build_id]
                    news.clear()  # before looking: what is heard meanwhile counts, what was heard does not count twice
                    build = await self._builds.get(build_id)
                    if build is None:
                        raise BuildFailed(f"nothing is known any more of the build {build_id}")
                    if build.result:
                        self._known[build_id] = build.result
                        return build.result
                    await _within(LOOK_AGAIN, news)
        except TimeoutError:
            raise Unavailable(f"the build {build_id} is still running", retry_after=10) from None
        finally:
            self._news.pop(build_id, None)


async def _within(seconds: float, news: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await news.wait()
