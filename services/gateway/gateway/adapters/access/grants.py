"""Grants in Redis, and a cache of them in the process."""

import time
from collections.abc import Callable
from datetime import timedelta

import msgspec
from redis.asyncio import Redis

from gateway.adapters.access.confirmed_cache import ConfirmedCache
from gateway.domain.grant import Grant
from swell.api.containers import ContainerRecord
from swell.instruments import CacheCounter
from swell.jobs.messages import TokenRevoked
from swell.store import keys
from swell.store.redis import translated

# A transaction has the same effect, and takes the client twice as long.
_PUT = """
redis.call('SET', KEYS[1], ARGV[1], 'EXAT', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
if ARGV[5] then
  redis.call('HSET', KEYS[3], 'base', ARGV[2], 'workspace', ARGV[5])
  redis.call('EXPIREAT', KEYS[3], ARGV[6])
  redis.call('ZADD', KEYS[4], ARGV[7], ARGV[8])
end
"""

SCANNED = 1000  # keys at a time

_LOOKUPS = CacheCounter("grants")


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

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        names = [keys.grant(grant.token), keys.request(grant.token)]
        values = msgspec.json.encode(grant), msgspec.json.encode(record)
        arguments: list[bytes | str | int | float] = [
            values[0],
            int((grant.first_end or grant.expires).timestamp()),
            values[1],
            self._life,
        ]
        if grant.run:
            names += [keys.leases(grant.token), keys.LEASED_RUNS]
            due = (grant.created + self._check).timestamp()
            arguments += [grant.run, int(grant.expires.timestamp()) + 60, due, grant.token]
        with translated():
            await self._put(names, arguments)

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
