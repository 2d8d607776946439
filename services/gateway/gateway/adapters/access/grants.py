"""Grants in Redis, and a cache of them in the process."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis

from gateway.adapters.access.confirmed_cache import ConfirmedCache
from gateway.domain.grant import Grant
from swell.api.containers import ContainerRecord
from swell.concurrency.batches import Batches
from swell.jobs.messages import TokenRevoked
from swell.observe.instruments import CacheCounter
from swell.store import keys
from swell.store.connections.redis import translated

# Each grant with its record; then the leases of those that have a run. The last key is the set of runs.
_PUT = """
local count = tonumber(ARGV[1])
for i = 0, count - 1 do
  local at = 3 + 3 * i
  redis.call('SET', KEYS[2 * i + 1], ARGV[at], 'EXAT', ARGV[at + 1])
  redis.call('SET', KEYS[2 * i + 2], ARGV[at + 2], 'EX', ARGV[2])
end
for i = 0, #KEYS - 2 * count - 2 do
  local at = 3 + 3 * count + 5 * i
  local leases = KEYS[2 * count + 1 + i]
  redis.call('HSET', leases, 'base', ARGV[at], 'workspace', ARGV[at + 1])
  redis.call('EXPIREAT', leases, ARGV[at + 2])
  redis.call('ZADD', KEYS[#KEYS], ARGV[at + 3], ARGV[at + 4])
end
"""
TOGETHER = 256 << 10  # bytes of grants and records in one call, if they are several

SCANNED = 1000  # keys at a time

_LOOKUPS = CacheCounter("grants")


class _Encoded(NamedTuple):
    """A grant, its JSON, and that of the record of its request."""

    grant: Grant
    content: bytes
    record: bytes

    def size(self) -> int:
        return len(self.content) + len(self.record)


class RedisGrants:
    """A grant is one key, which expires with the grant; the record of its request is another, which lives *life*."""

    def __init__(
        self, redis: Redis, life: timedelta = timedelta(days=90), check: timedelta = timedelta(minutes=3)
    ) -> None:
        """The run of a grant is looked up *check* after the request."""
        self._redis = redis
        self._check = check
        self._life = int(life.total_seconds())
        self._put = redis.register_script(_PUT)
        self._batches = Batches(self._put_all, _Encoded.size, TOGETHER)

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        """Store both in one transaction; grants that are stored at the same time share a call."""
        await self._batches.add(_Encoded(grant, msgspec.json.encode(grant), msgspec.json.encode(record)))

    async def _put_all(self, batch: Sequence["_Encoded"]) -> None:
        names, leases = list[str](), list[str]()
        values, runs = list[bytes | str | int | float](), list[bytes | str | int | float]()
        for grant, encoded, record in batch:
            names += (keys.grant(grant.token), keys.request(grant.token))
            ends = int((grant.first_end or grant.expires).timestamp())
            values += (encoded, ends, record)
            if grant.run:
                leases.append(keys.leases(grant.token))
                due = (grant.created + self._check).timestamp()
                runs += (ends, grant.run, int(grant.expires.timestamp()) + 60, due, grant.token)
        with translated():
            await self._put([*names, *leases, keys.LEASED_RUNS], [len(batch), self._life, *values, *runs])

    async def record(self, token: str) -> ContainerRecord | None:
        with translated():
            value = await self._redis.get(keys.request(token))
        return msgspec.json.decode(value, type=ContainerRecord) if value else None

    async def revoke(self, token: str) -> bool:
        """Delete the grant of *token*; returns whether it existed."""
        with translated():
            return bool(await self._redis.delete(keys.grant(token)))

    async def get(self, token: str) -> Grant | None:
        with translated():
            value = await self._redis.get(keys.grant(token))
        return msgspec.json.decode(value, type=Grant) if value else None

    async def scan(self, cursor: str) -> tuple[list[Grant], str | None]:
        """Return some grants and the cursor of the next ones; the first cursor is `0`.

        A grant that exists during the whole iteration is returned at least once.
        """
        with translated():
            position, names = await self._redis.scan(int(cursor), match=keys.grant("*"), count=SCANNED)
            values = await self._redis.mget(names) if names else []
        grants = [msgspec.json.decode(value, type=Grant) for value in values if value]
        return grants, str(position) if position else None


class CachedGrants(ConfirmedCache[Grant]):
    """The grants used most recently; at most *size* bytes."""

    def __init__(self, stored: RedisGrants, size: int = 32 << 20, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stored.get, size, _weight, lambda grant: grant.expires.timestamp(), _LOOKUPS, now)
        self._stored = stored

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        await self._stored.put(grant, record)
        self.add(grant.token, grant)

    async def record(self, token: str) -> ContainerRecord | None:
        return await self._stored.record(token)

    async def revoke(self, token: str) -> bool:
        existed = await self._stored.revoke(token)
        self.evict(token)
        return existed

    def on_revoked(self, event: TokenRevoked) -> None:
        """Evict a grant that another gateway revoked."""
        self.evict(event.id)

    def is_cached(self, token: str) -> bool:
        """Whether *token* was valid when it was last used."""
        return token in self


def _weight(grant: Grant) -> int:
    """An upper bound in bytes: short strings take up to seven times their size in JSON, long ones do not."""
    return 1_000 + 8 * len(msgspec.json.encode(grant))
