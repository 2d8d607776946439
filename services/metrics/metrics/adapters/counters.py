"""Counters in Redis: each table is a hash with a field for each organisation and one for the total."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from redis.asyncio import Redis

from metrics.domain.usage import Table, Use, tables
from swell.store import keys
from swell.store.redis import text, translated

_TOTAL = ""  # the field of the total; no organisation has an empty name
_MARK_LIFE = timedelta(days=8)  # longer than the event stream can deliver an event again (7 days)

# Atomic: the mark of the event (KEYS[1]) and every table. ARGV: life of the mark (s), count, fields.
_ADD = """
if not redis.call('SET', KEYS[1], '', 'NX', 'EX', ARGV[1]) then return 0 end
for table = 2, #KEYS do
  for field = 3, #ARGV do redis.call('HINCRBY', KEYS[table], ARGV[field], ARGV[2]) end
end
return 1
"""


class RedisCounters:
    """See `Counters`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)

    async def add(self, use: Use) -> bool:
        names = [keys.counted(use.event_id), *map(_key, tables(use))]
        life = int(_MARK_LIFE.total_seconds())
        with translated():
            return bool(await self._add(keys=names, args=[life, use.count, *_fields(use)]))

    async def of_one(self, table: Table, organisation: str) -> int:
        with translated():
            return int(await self._redis.hget(_key(table), organisation) or 0)

    async def of_all(self, table: Table) -> tuple[int, Mapping[str, int]]:
        with translated():
            stored = await self._redis.hgetall(_key(table))
        counts = {text(field): int(count) for field, count in stored.items()}
        return counts.pop(_TOTAL, 0), counts


def _key(table: Table) -> str:
    return keys.usage(table.metric, table.day or "ever", table.architecture or "any")


def _fields(use: Use) -> list[str]:
    return [_TOTAL, use.organisation] if use.organisation else [_TOTAL]


class MemoryCounters:
    """The memory twin of `RedisCounters`, for unit tests and for `metrics.recount`."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._tables: dict[Table, Counter[str]] = {}

    async def add(self, use: Use) -> bool:
        if use.event_id in self._seen:
            return False
        self._seen.add(use.event_id)
        for table in tables(use):
            self._tables.setdefault(table, Counter()).update(dict.fromkeys(_fields(use), use.count))
        return True

    async def of_one(self, table: Table, organisation: str) -> int:
        return self._tables.get(table, Counter())[organisation]

    async def of_all(self, table: Table) -> tuple[int, Mapping[str, int]]:
        counts = dict(self._tables.get(table, {}))
        return counts.pop(_TOTAL, 0), counts

    @property
    def tables(self) -> list[Table]:
        """The tables that are not empty."""
        return list(self._tables)
