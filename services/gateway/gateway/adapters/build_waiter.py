"""How builds end, for pulls: they wait only so long, and may be many."""

import asyncio
from datetime import timedelta

from cachetools import LRUCache

from swell.concurrency.single_flight import SingleFlight
from swell.errors import BuildFailed, Unavailable
from swell.jobs.messages import BuildDone
from swell.store import build_waiter
from swell.store.builds import Builds
from swell.store.records import BuildResult


class BuildWaiter:
    """Waits for builds, once for each however many ask."""

    def __init__(self, builds: Builds, patience: timedelta) -> None:
        self._ends = build_waiter.BuildWaiter(builds)
        self._patience = patience.total_seconds()
        self._known: LRUCache[str, BuildResult] = LRUCache(10_000)
        self._single_flight: SingleFlight[str, BuildResult] = SingleFlight()

    async def result(self, build_id: str) -> BuildResult:
        if known := self._known.get(build_id):
            return known
        return await self._single_flight.run(build_id, lambda: self._wait(build_id))

    def heard(self, done: BuildDone) -> None:
        """Whoever waits for this build looks at once."""
        self._ends.heard(done)

    async def _wait(self, build_id: str) -> BuildResult:
        try:
            async with asyncio.timeout(self._patience):
                result = await self._ends.result(build_id)
        except TimeoutError:
            raise Unavailable(f"the build {build_id} is still running", retry_after=10) from None
        if result is None:
            raise BuildFailed(f"nothing is known any more of the build {build_id}")
        self._known[build_id] = result
        return result
