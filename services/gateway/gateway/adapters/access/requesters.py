"""Who has requested which records, in Redis."""

from collections.abc import Iterable
from datetime import timedelta

from redis.asyncio import Redis

from swell.store import keys
from swell.store.connections.redis import text, translated


class RedisRequesters:
    """A set of names for each record, which lives as long as the record."""

    def __init__(self, redis: Redis, life: timedelta) -> None:
        self._redis = redis
        self._life = life

    async def add(self, record_ids: Iterable[str], names: Iterable[str]) -> None:
        members = list(names)
        with translated():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for record_id in record_ids:
                    pipeline.sadd(keys.readers(record_id), *members)
                    pipeline.expire(keys.readers(record_id), self._life)
                await pipeline.execute()

    async def get(self, record_id: str) -> frozenset[str]:
        with translated():
            return frozenset(map(text, await self._redis.smembers(keys.readers(record_id))))
