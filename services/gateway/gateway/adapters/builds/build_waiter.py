"""Waits for builds, for a limited time: for pulls, once per build for all of them, and for the first status."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from cachetools import LRUCache
from prometheus_client import Gauge

from swell.concurrency.single_flight import SingleFlight
from swell.errors import BuildFailed, Unavailable
from swell.jobs.messages import BuildDone
from swell.log import log
from swell.store import build_waiter
from swell.store.builds import Builds
from swell.store.records import BuildResult

WAITING = Gauge("swell_build_waits", "Pulls and followed logs that wait for the end of a build.")
RETRY_DELAY = 0.5  # seconds between two tries to read a result while the store is unavailable


class BuildWaiter:
    """Waits at most *timeout* for a build, also while the store is unavailable; caches the 10,000 latest results."""

    def __init__(self, builds: Builds, timeout: timedelta) -> None:
        self._waiter = build_waiter.BuildWaiter(builds)
        self._timeout = timeout.total_seconds()
        self._results: LRUCache[str, BuildResult] = LRUCache(10_000)
        self._single_flight: SingleFlight[str, BuildResult] = SingleFlight()

    def is_known(self, build_id: str) -> bool:
        """See `gateway.pull.pulls.BuildWaiter`."""
        return build_id in self._results

    async def result(self, build_id: str) -> BuildResult:
        """See `gateway.pull.pulls.BuildWaiter`."""
        if result := self._results.get(build_id):
            return result
        with WAITING.track_inprogress():
            return await self._single_flight.run(build_id, lambda: self._wait(build_id))

    async def wait_at_most(self, build_id: str, seconds: float) -> None:
        """See `gateway.builds.first_status.BuildEnds`; an unavailable store ends the wait."""
        with suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(seconds):
                await self._waiter.result(build_id)

    def on_build_done(self, event: BuildDone) -> None:
        """Let the pulls that wait for this build read its result at once."""
        self._waiter.heard(event)

    async def _wait(self, build_id: str) -> BuildResult:
        try:
            async with asyncio.timeout(self._timeout):
                result = await self._read(build_id)
        except TimeoutError:
            raise Unavailable(f"the build {build_id} is still running", retry_after=10) from None
        if result is None:
            raise BuildFailed(f"the record of the build {build_id} has expired")
        self._results[build_id] = result
        return result

    async def _read(self, build_id: str) -> BuildResult | None:
        while True:
            try:
                return await self._waiter.result(build_id)
            except Unavailable as error:
                log.warning("result of a build cannot be read yet", build_id=build_id, error=str(error))
            await asyncio.sleep(RETRY_DELAY)
