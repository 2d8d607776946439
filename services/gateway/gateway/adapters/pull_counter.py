"""Counts pulls in the process, and publishes the counts to the metrics service every second."""

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

INTERVAL = 1.0  # seconds; a gateway that is killed loses at most the counts of so long


class PullCounter:
    """Counting a pull is no call; `publish_counts` runs in the background."""

    def __init__(self, stream: JetStreamContext) -> None:
        self._stream = stream
        self._counts: Counter[CountedPull] = Counter()
        self._architectures = Architectures()
        self._pending: ImagesPulled | None = None
        self._changed = asyncio.Event()

    def count(self, grant: Grant, document: Document) -> None:
        """Count *document*, served for *grant*, if it is a manifest; from an index only the architectures are read."""
        if document.is_index:
            self._architectures.learn(document)
            return
        day = datetime.now(UTC).date().isoformat()
        architecture = self._architectures.of(document, grant)
        self._counts[CountedPull(day, architecture, grant.organisation, has_fusion(grant.container_config))] += 1
        self._changed.set()

    async def publish_counts(self) -> None:
        """Publish the counts until cancelled, and once more then: a clean stop loses no count."""
        try:
            while True:
                await self._changed.wait()
                await asyncio.sleep(INTERVAL)
                self._changed.clear()
                await self._flush()
        finally:
            await self._flush()

    async def _flush(self) -> None:
        """Publish all counts; an event whose storage is not confirmed is published again the next time."""
        for _ in range(len(self._counts) + (self._pending is not None)):
            event = self._next_event()
            try:
                await publish(self._stream, event)
            except Unavailable as error:
                log.warning("pull counts not published yet", count=event.count, error=str(error))
                self._changed.set()
                return
            self._pending = None

    def _next_event(self) -> ImagesPulled:
        """The unconfirmed event, with the same id so that it is counted once; otherwise an event of other pulls."""
        if self._pending is None:
            pull, count = self._counts.popitem()
            self._pending = ImagesPulled(id=uuid.uuid4().hex, count=count, **pull._asdict())
        return self._pending
