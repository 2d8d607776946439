"""Counters in Redis: one hash, a field for each metric and one for each of its days."""

from collections import Counter
from datetime import timedelta

from redis.asyncio import Redis

from metrics.count import Metric
from swell.store.redis import translated

_HASH = "swell:metrics"
_REMEMBERED = timedelta(days=8)  # a little longer than the event stream can deliver an event again

_ADD = """
if not redis.call('SET', KEYS[2], '', 'NX', 'EX', ARGV[4]) then return 0 end
redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[3])
redis.call('HINCRBY', KEYS[1], ARGV[1] .. '/d/' .. ARGV[2], ARGV[3])
return 1
"""


class RedisCounters:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)

    async def add(self, event_id: str, metric: Metric, day: str, count: int) -> bool:
        keys = [_HASH, f"swell:counted:{metric}:{event_id}"]
        with translated():
            return bool(await self._add(keys=keys, args=[metric, day, count, int(_REMEMBERED.total_seconds())]))

    async def total(self, metric: Metric, day: str | None) -> int:
        with translated():
            return int(await self._redis.hget(_HASH, f"{metric}/d/{day}" if day else metric) or 0)


class MemoryCounters:
    """The twin of RedisCounters for unit tests."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, Metric]] = set()
        self._counts: Counter[tuple[Metric, str | None]] = Counter()

    async def add(self, event_id: str, metric: Metric, day: str, count: int) -> bool:
        if (event_id, metric) in self._seen:
            return False
        self._seen.add((event_id, metric))
        self._counts[metric, None] += count
        self._counts[metric, day] += count
        return True

    async def total(self, metric: Metric, day: str | None) -> int:
        return self._counts[metric, day]
