"""Counters in Redis: each table is a hash with a field for each organisation and one for the total."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from redis.asyncio import Redis

from metrics.domain.usage import Counts, Table, Use, tables
from swell.store import keys
from swell.store.connections.redis import text, translated

_TOTAL = ""  # the field of the total; no organisation has an empty name
_MARK_LIFE = timedelta(days=8)  # longer than the event stream can deliver an event again (7 days)

# Atomic: the mark of the event (KEYS[1]) and every table. ARGV: life of the mark (s), the count of each table, fields.
_ADD = """
if not redis.call('SET', KEYS[1], '', 'NX', 'EX', ARGV[1]) then return 0 end
for table = 2, #KEYS do
  for field = #KEYS + 1, #ARGV do redis.call('HINCRBY', KEYS[table], ARGV[field], ARGV[table]) end
end
return 1
"""

# Atomic. KEYS: the table. ARGV: fields and their differences. A field without a count is removed.
_ADJUST = """
for at = 1, #ARGV, 2 do
  if redis.call('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1]) == 0 then redis.call('HDEL', KEYS[1], ARGV[at]) end
end
"""


class RedisCounters:
    """See `Counters`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)
        self._adjust = redis.register_script(_ADJUST)

    async def add(self, use: Use) -> bool:
        added = tables(use)
        names, counts = [keys.counted(use.event_id), *map(_key, added)], [use.amount(each.metric) for each in added]
        life = int(_MARK_LIFE.total_seconds())
        with translated():
            return bool(await self._add(keys=names, args=[life, *counts, *use.fields]))

    async def of_one(self, table: Table, organisation: str) -> int:
        with translated():
            return int(await self._redis.hget(_key(table), organisation) or 0)

    async def of_all(self, table: Table) -> tuple[int, Mapping[str, int]]:
        with translated():
            stored = await self._redis.hgetall(_key(table))
        counts = {text(field): int(count) for field, count in stored.items()}
        return counts.pop(_TOTAL, 0), counts

    async def days(self) -> list[str]:
        pattern, days = keys.usage("*", "????-??-??", "*"), set[str]()
        with translated():
            async for key in self._redis.scan_iter(pattern, count=1000):
                days.add(text(key).split(":")[-2])
        return sorted(days)

    async def adjust(self, table: Table, differences: Counts) -> None:
        fields = [part for field, difference in differences.items() for part in (field, difference)]
        with translated():
            await self._adjust(keys=[_key(table)], args=fields)

    async def is_restored(self) -> bool:
        """Return whether `restored` was called since Redis has lost its data."""
        with translated():
            return bool(await self._redis.exists(keys.USAGE_RESTORED))

    async def restored(self) -> None:
        """Record that the counters are those of all roll-ups and events."""
        with translated():
            await self._redis.set(keys.USAGE_RESTORED, "1")


def _key(table: Table) -> str:
    return keys.usage(table.metric, table.day or "ever", table.architecture or "any")


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
            self._tables.setdefault(table, Counter()).update(dict.fromkeys(use.fields, use.amount(table.metric)))
        return True

    async def of_one(self, table: Table, organisation: str) -> int:
        return self._tables.get(table, Counter())[organisation]

    async def of_all(self, table: Table) -> tuple[int, Mapping[str, int]]:
        counts = dict(self._tables.get(table, {}))
        return counts.pop(_TOTAL, 0), counts

    async def days(self) -> list[str]:
        return sorted({table.day for table in self._tables if table.day})

    async def adjust(self, table: Table, differences: Counts) -> None:
        counts = self._tables.setdefault(table, Counter())
        counts.update(differences)
        self._tables[table] = Counter({field: count for field, count in counts.items() if count})

    @property
    def tables(self) -> list[Table]:
        """The tables that are not empty."""
        return list(self._tables)
