"""Counts pulls and cache hits in the process, and publishes the counts to the metrics service.

Counts are in memory for at most a second. Then they are events, in a journal until the message queue has confirmed
them: a gateway that is killed loses at most the counts of the last second, also while the message queue is unavailable.
With a `LocalJournal`, the same is true while Redis is unavailable as well.
"""

import asyncio
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct
from nats.js import JetStreamContext

from gateway.domain.grant import Grant
from gateway.pull.counting import Architectures, CountedPull, Sizes, has_fusion
from swell.errors import Unavailable
from swell.jobs.messages import ImagesPulled
from swell.jobs.publish import publish
from swell.log import log
from swell.oci.document import Document

INTERVAL = 0.8  # seconds between two batches of events
SLOWER = 30.0  # the same, while `MANY` events wait
MANY = 1_000
RETRY_DELAY = 1.0
LOOK_INTERVAL = 30.0  # seconds between two searches for events of crashed gateways


class Journal(Protocol):
    async def add(self, events: Sequence[ImagesPulled]) -> None: ...

    async def remove(self, event: ImagesPulled) -> None: ...

    async def left(self) -> list[ImagesPulled]:
        """Events that a gateway has stored some time ago and not removed."""


class _Pulled(Struct, gc=False):
    """How often *document* was served for *grant* since the last batch."""

    grant: Grant
    document: Document
    count: int = 0


class PullCounter:
    """Counting a pull is no call; `publish_counts` runs in the background."""

    def __init__(self, stream: JetStreamContext, journal: Journal) -> None:
        self._stream = stream
        self._journal = journal
        self._pulled: dict[tuple[str, str], _Pulled] = {}
        self._counts: Counter[CountedPull] = Counter()
        self._bytes: Counter[CountedPull] = Counter()
        self._hits: Counter[CountedPull] = Counter()
        self._architectures = Architectures()
        self._sizes = Sizes()
        self._events: deque[ImagesPulled] = deque()
        self._changed = asyncio.Event()
        self._ready = asyncio.Event()

    def count(self, grant: Grant, document: Document) -> None:
        """Count *document*, served for *grant*, if it is a manifest; from an index only the architectures are read.

        What the counts belong to is found once for many pulls.
        """
        if document.is_index:
            self._architectures.learn(document)
            return
        key = grant.token, document.digest
        if (pulled := self._pulled.get(key)) is None:
            if len(self._pulled) >= MANY:
                self._add_up()
            pulled = self._pulled[key] = _Pulled(grant, document)
            self._changed.set()
        pulled.count += 1

    def count_hit(self, grant: Grant) -> None:
        """Count a container request whose image existed, so that nothing was built or copied for *grant*."""
        day, architecture = datetime.now(UTC).date().isoformat(), grant.platforms[0].split("/")[1]
        self._hits[CountedPull(day, architecture, grant.organisation, fusion=False)] += 1
        self._changed.set()

    async def publish_counts(self) -> None:
        """Publish the counts until cancelled, and once more then: a clean stop loses no count."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._collect())
                tasks.create_task(self._publish())
                tasks.create_task(self._adopt())
        finally:
            await self._store_batch()
            while self._events and await self._publish_next():
                pass

    async def _collect(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(INTERVAL if len(self._events) < MANY else SLOWER)
            self._changed.clear()
            await self._store_batch()

    def _add_up(self) -> None:
        """Add the pulls since the last call to the counts by day, architecture and organisation."""
        day = datetime.now(UTC).date().isoformat()
        for each in self._pulled.values():
            grant, architecture = each.grant, self._architectures.of(each.document, each.grant)
            pull = CountedPull(day, architecture, grant.organisation, has_fusion(grant.container_config))
            self._counts[pull] += each.count
            self._bytes[pull] += each.count * self._sizes.of(each.document)
        self._pulled.clear()

    async def _store_batch(self) -> None:
        """Make events of all counts, and store them in the journal."""
        self._add_up()
        counts, self._counts = self._counts, Counter()
        sizes, self._bytes = self._bytes, Counter()
        hits, self._hits = self._hits, Counter()
        events = [
            ImagesPulled(id=uuid.uuid4().hex, count=counts[pull], bytes=sizes[pull], hits=hits[pull], **pull._asdict())
            for pull in counts | hits
        ]
        if events:
            self._events.extend(events)
            self._ready.set()
            try:
                await self._journal.add(events)
            except Unavailable as error:
                log.warning("pull counts are in memory only", count=counts.total(), error=str(error))

    async def _publish(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._events:
                if not await self._publish_next():
                    await asyncio.sleep(RETRY_DELAY)

    async def _publish_next(self) -> bool:
        """Publish the oldest event; one that is not confirmed is published again, and its id is counted once."""
        event = self._events[0]
        try:
            await publish(self._stream, event)
        except Unavailable as error:
            log.warning("pull counts not published yet", count=event.count, error=str(error))
            return False
        self._events.popleft()
        try:
            await self._journal.remove(event)
        except Unavailable as error:
            log.warning("published pull counts stay in the journal", error=str(error))
        return True

    async def _adopt(self) -> None:
        """Publish what crashed gateways have left in the journal."""
        while True:
            try:
                for event in await self._journal.left():
                    if event not in self._events:
                        self._events.append(event)
                        self._ready.set()
            except Unavailable as error:
                log.warning("journal of pull counts cannot be read", error=str(error))
            await asyncio.sleep(LOOK_INTERVAL)
