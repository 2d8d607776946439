"""Counting pulls without costing any: a number in process, told to the metrics service once a second."""

import asyncio
import uuid
from collections import Counter
from datetime import UTC, datetime

from nats.js import JetStreamContext

from swell.errors import Unavailable
from swell.jobs.messages import ImagesPulled
from swell.jobs.publish import publish
from swell.log import log

EVERY = 1.0  # seconds; what a gateway that is killed may forget


class PullTally:
    def __init__(self, stream: JetStreamContext) -> None:
        self._stream = stream
        self._counts: Counter[str] = Counter()
        self._saying: ImagesPulled | None = None
        self._news = asyncio.Event()

    def pulled(self) -> None:
        """One image manifest was sent."""
        self._counts[datetime.now(UTC).date().isoformat()] += 1
        self._news.set()

    async def tell(self) -> None:
        """Publish what was counted, for ever; once more when cancelled, so that a clean stop forgets nothing."""
        try:
            while True:
                await self._news.wait()
                await asyncio.sleep(EVERY)
                self._news.clear()
                await self._flush()
        finally:
            await self._flush()

    async def _flush(self) -> None:
        """Publish what was counted until now; what was not stored for sure is said again the next time."""
        for _ in range(len(self._counts) + (self._saying is not None)):
            event = self._next()
            try:
                await publish(self._stream, event)
            except Unavailable as error:
                log.warning("pulls not told yet", count=event.count, error=str(error))
                self._news.set()
                return
            self._saying = None

    def _next(self) -> ImagesPulled:
        """The event that may have been stored, with its id, so that it counts once; else the count of another day."""
        if self._saying is None:
            day, count = self._counts.popitem()
            self._saying = ImagesPulled(id=uuid.uuid4().hex, day=day, count=count)
        return self._saying
