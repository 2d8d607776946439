"""How much the backends store."""

from collections.abc import Mapping
from time import monotonic
from typing import Any

from nats.js import JetStreamContext
from redis.asyncio import Redis

from swell.api.operator import ObjectsUse, StateUse, StreamUse
from swell.concurrency.single_flight import SingleFlight
from swell.jobs.consumers import sizes
from swell.store.connections.redis import translated
from swell.store.s3_objects import S3Objects

PREFIXES = {
    "logs": ("",),
    "layers": ("sha256/", "cache/", "documents/", "unpushed/"),
    "reports": ("usage/", "sboms/", "scans/"),
}
MAX_OBJECTS = 10_000  # that are counted below a prefix
_FRESH = 60.0  # seconds


class BackendUse:
    """Raises `Unavailable` when a backend does not answer. Objects are counted at most once a minute."""

    def __init__(self, redis: Redis, stream: JetStreamContext, buckets: Mapping[str, S3Objects]) -> None:
        self._redis = redis
        self._stream = stream
        self._buckets = buckets
        self._counting: SingleFlight[str, tuple[ObjectsUse, ...]] = SingleFlight(kept=False)
        self._counted: tuple[ObjectsUse, ...] = ()
        self._counted_at = float("-inf")

    async def state(self) -> StateUse:
        with translated():
            memory: dict[str, Any] = await self._redis.info("memory")
            count = await self._redis.dbsize()
        return StateUse(used=int(memory.get("used_memory", 0)), limit=int(memory.get("maxmemory", 0)), keys=int(count))

    async def streams(self) -> list[StreamUse]:
        streams, _ = await sizes(self._stream)
        return [StreamUse(name=each.stream, messages=each.messages, bytes=each.bytes) for each in streams]

    async def objects(self) -> tuple[ObjectsUse, ...]:
        if monotonic() - self._counted_at < _FRESH:
            return self._counted
        return await self._counting.run("", self._count_all)

    async def _count_all(self) -> tuple[ObjectsUse, ...]:
        self._counted = tuple(
            [await count(self._buckets[kind], prefix) for kind, prefixes in PREFIXES.items() for prefix in prefixes]
        )
        self._counted_at = monotonic()
        return self._counted


async def count(objects: S3Objects, prefix: str) -> ObjectsUse:
    """Count the objects below *prefix*, at most 10,000."""
    number = size = 0
    after, is_complete = "", False
    while number < MAX_OBJECTS and not is_complete:
        page = await objects.page(prefix, after)
        number += len(page)
        size += sum(each.size for each in page)
        is_complete = not page
        after = page[-1].key if page else after
    return ObjectsUse(bucket=objects.bucket, prefix=prefix, objects=number, bytes=size, is_complete=is_complete)
