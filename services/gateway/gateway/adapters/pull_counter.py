"""Counting pulls without costing any: numbers in process, told to the metrics service once a second."""

import asyncio
import uuid
from collections import Counter
from datetime import UTC, datetime

from nats.js import JetStreamContext

from gateway.domain.grant import Grant
from gateway.pull.counting import Architectures, CountedPull, has_fusion
from swell.errors import Unavailable
from swell.jobs.messages import ImagesPulled
from swell.jobs.publish import publish
from swell.log import log
from swell.oci.document import Document

EVERY = 1.0  # seconds; what a gateway that is killed may forget


class PullCounter:
    def __init__(self, stream: JetStreamContext) -> None:
        self._stream = stream
        self._counts: Counter[CountedPull] = Counter()
        self._architectures = Architectures()
        self._saying: ImagesPulled | None = None
        self._news = asyncio.Event()

    def pulled(self, grant: Grant, document: Document) -> None:
        """*document* was sent, by *grant*: an image is a pull; an index tells what machines its images are for."""
        if document.is_index:
            self._architectures.learn(document)
            return
        day = datetime.now(UTC).date().isoformat()
        architecture = self._architectures.of(document, grant)
        self._counts[CountedPull(day, architecture, grant.organisation, has_fusion(grant.container_config))] += 1
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
        """The event that may have been stored, with its id, so that it counts once; else one of other pulls."""
        if self._saying is None:
            pulled, count = self._counts.popitem()
            self._saying = ImagesPulled(id=uuid.uuid4().hex, count=count, **pulled._asdict())
        return self._saying
