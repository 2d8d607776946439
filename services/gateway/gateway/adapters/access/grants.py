"""Grants in Redis, and a cache of them in the process."""

import asyncio
import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import msgspec
from cachetools import LRUCache, TTLCache
from redis.asyncio import Redis

from gateway.domain.grant import Grant
from swell.api.containers import ContainerRecord
from swell.concurrency.single_flight import SingleFlight
from swell.errors import Unavailable
from swell.instruments import CacheCounter
from swell.jobs.messages import TokenRevoked
from swell.store import keys
from swell.store.redis import translated

# A transaction has the same effect, and takes the client twice as long.
_PUT = """
redis.call('SET', KEYS[1], ARGV[1], 'EXAT', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
"""

_LOOKUPS = CacheCounter("grants")


class RedisGrants:
    """A grant is one key, which expires with the grant; the record of its request is another, which lives *life*."""

    def __init__(self, redis: Redis, life: timedelta = timedelta(days=90)) -> None:
        self._redis = redis
        self._life = int(life.total_seconds())
        self._put = redis.register_script(_PUT)

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        names = [keys.grant(grant.token), keys.request(grant.token)]
        values = msgspec.json.encode(grant), msgspec.json.encode(record)
        with translated():
            await self._put(names, [values[0], int(grant.expires.timestamp()), values[1], self._life])

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


class _Cached(NamedTuple):
    """A grant, and when Redis last confirmed it (monotonic seconds)."""

    grant: Grant
    confirmed: float


class CachedGrants:
    """The grants used most recently, until they expire; at most *size* bytes. Unknown tokens are not cached.

    A revocation event deletes a cached grant immediately. Because an event may be lost, a grant is confirmed again
    after some seconds: in the background while it is in constant use, otherwise the request waits. While Redis does
    not respond, a cached grant is used for at most a quarter of an hour.
    """

    FRESH = 5.0  # seconds; an older grant is confirmed again, in the background
    STALE = 10.0  # seconds; for an older grant the request waits for Redis
    MAX_UNCONFIRMED = 900.0  # seconds without Redis
    TIMEOUT = 0.5  # seconds that a request waits; then no request waits for FRESH seconds

    def __init__(self, stored: RedisGrants, size: int = 32 << 20, now: Callable[[], float] = time.monotonic) -> None:
        self._stored = stored
        self._now = now
        self._cached: LRUCache[str, _Cached] = LRUCache(size, getsizeof=_weight)
        self._single_flight: SingleFlight[str, Grant | None] = SingleFlight()
        self._revoked: TTLCache[str, None] = TTLCache(10_000, ttl=60)
        self._unavailable_until = -math.inf

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        await self._stored.put(grant, record)
        self._cache(grant)

    async def record(self, token: str) -> ContainerRecord | None:
        return await self._stored.record(token)

    async def revoke(self, token: str) -> bool:
        existed = await self._stored.revoke(token)
        self._evict(token)
        return existed

    def on_revoked(self, event: TokenRevoked) -> None:
        """Evict a grant that another gateway revoked."""
        self._evict(event.id)

    def is_cached(self, token: str) -> bool:
        """Whether *token* was valid when it was last used."""
        return token in self._cached

    async def get(self, token: str) -> Grant | None:
        if cached := self._cached.get(token):
            _LOOKUPS.hit()
            grant = await self._confirmed(cached)
        else:
            _LOOKUPS.miss()
            grant = await self._single_flight.run(token, lambda: self._fetch(token))
        return grant if grant and grant.expires.timestamp() > time.time() else None

    async def _confirmed(self, cached: _Cached) -> Grant | None:
        """The grant of *cached*; asks Redis again when it is too old."""
        now = self._now()
        age = now - cached.confirmed
        if age <= self.FRESH:
            return cached.grant
        token = cached.grant.token
        fetching = self._single_flight.begin(token, lambda: self._fetch(token))
        if age <= self.STALE or (now < self._unavailable_until and age <= self.MAX_UNCONFIRMED):
            return cached.grant
        try:
            async with asyncio.timeout(self.TIMEOUT):
                return await asyncio.shield(fetching)
        except (Unavailable, TimeoutError) as error:
            if age > self.MAX_UNCONFIRMED:
                raise Unavailable("the state store does not answer, so the token cannot be checked") from error
            self._unavailable_until = now + self.FRESH
            return cached.grant

    async def _fetch(self, token: str) -> Grant | None:
        grant = await self._stored.get(token)
        if grant is None or token in self._revoked:  # revoked before the response of Redis arrived
            self._cached.pop(token, None)
            return None
        self._cache(grant)
        return grant

    def _cache(self, grant: Grant) -> None:
        cached = _Cached(grant, self._now())
        if _weight(cached) <= self._cached.maxsize:
            self._cached[grant.token] = cached

    def _evict(self, token: str) -> None:
        self._revoked[token] = None
        self._cached.pop(token, None)


def _weight(cached: _Cached) -> int:
    """An upper bound in bytes: short strings take up to seven times their size in JSON, long ones do not."""
    return 1_000 + 8 * len(msgspec.json.encode(cached.grant))
