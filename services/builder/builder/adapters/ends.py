"""How builds end: told by an event, looked up in the store in case the event was missed."""

import asyncio
from collections import defaultdict
from contextlib import suppress

from swell.jobs.messages import BuildDone
from swell.store.builds import Builds
from swell.store.records import BuildResult

LOOK_AGAIN = 5.0  # seconds; an event can be missed while the connection is down


class BuildEnds:
    def __init__(self, builds: Builds) -> None:
        self._builds = builds
        self._news: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def heard(self, done: BuildDone) -> None:
        """Whoever waits for this build looks at once."""
        for news in self._news.get(done.id, ()):
            news.set()

    async def result(self, build_id: str) -> BuildResult | None:
        news = asyncio.Event()
        self._news[build_id].add(news)
        try:
            while True:
                news.clear()  # before looking: what is heard meanwhile counts
                build = await self._builds.get(build_id)
                if build is None or build.result:
                    return build.result if build else None
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN):
                        await news.wait()
        finally:
            self._news[build_id].discard(news)
            if not self._news[build_id]:
                del self._news[build_id]
