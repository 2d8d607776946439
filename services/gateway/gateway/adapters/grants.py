"""Grants in Redis, and the process's own memory of them."""

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
from swell.jobs.messages import TokenRevoked
from swell.store import keys
from swell.store.redis import translated

# A transaction would do the same, and take the client twice as long.
_PUT = """
redis.call('SET', KEYS[1], ARGV[1], 'EXAT', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
"""


class RedisGrants:
    """Each grant is one key that disappears when the grant expires; its record is another one that lives *life*."""

    def __init__(self, redis: Redis, life: timedelta = timedelta(days=90)) -> None:
        self._redis = redis
        self._life = int(life.total_seconds())
        self._put = redis.register_script(_PUT)

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        keys = [_key(grant.token), _record(grant.token)]
        kept, known = msgspec.json.encode(grant), msgspec.json.encode(record)
        with translated():
            await self._put(keys, [kept, int(grant.expires.timestamp()), known, self._life])

    async def record(self, token: str) -> ContainerRecord | None:
        with translated():
            found = await self._redis.get(_record(token))
        return msgspec.json.decode(found, type=ContainerRecord) if found else None

    async def revoke(self, token: str) -> bool:
        """Take the grant away; answers whether there was one."""
        with translated():
            return bool(await self._redis.delete(_key(token)))

    async def get(self, token: str) -> Grant | None:
        with translated():
            found = await self._redis.get(_key(token))
        return msgspec.json.decode(found, type=Grant) if found else None


class _Known(NamedTuple):
    """A grant, and the moment at which Redis last had it."""

    grant: Grant
    confirmed: float


class CachedGrants:
    """The grants that were given or asked for last, until they expire; at most *size* bytes of them.

    A revocation is heard at once. In case it was not, a grant is believed for some seconds only: one in constant use is
    looked up again behind the backs of those who use it, the others wait for that. While Redis does not answer, what is
    known goes on, but no longer than a quarter of an hour. Unknown tokens are asked for again.
    """

    FRESH = 5.0  # seconds; an older grant is looked up again
    STALE = 10.0  # seconds; who comes later waits for the answer
    ALONE = 900.0  # seconds; so long without Redis
    PATIENCE = 0.5  # seconds; so long one waits for Redis, the next ones do not for some seconds

    def __init__(self, stored: RedisGrants, size: int = 32 << 20, now: Callable[[], float] = time.monotonic) -> None:
        self._stored = stored
        self._now = now
        self._known: LRUCache[str, _Known] = LRUCache(size, getsizeof=_weight)
        self._single_flight: SingleFlight[str, Grant | None] = SingleFlight()
        self._revoked: TTLCache[str, None] = TTLCache(10_000, ttl=60)
        self._away_until = -math.inf

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        await self._stored.put(grant, record)
        self._keep(grant)

    async def record(self, token: str) -> ContainerRecord | None:
        return await self._stored.record(token)

    async def revoke(self, token: str) -> bool:
        was_there = await self._stored.revoke(token)
        self._forget(token)
        return was_there

    def revoked(self, news: TokenRevoked) -> None:
        """Another gateway has taken this grant away."""
        self._forget(news.id)

    def remembers(self, token: str) -> bool:
        """Whether *token* was good when it was asked for last."""
        return token in self._known

    async def get(self, token: str) -> Grant | None:
        if known := self._known.get(token):
            grant = await self._believed(known)
        else:
            grant = await self._single_flight.run(token, lambda: self._look(token))
        return grant if grant and grant.expires.timestamp() > time.time() else None

    async def _believed(self, known: _Known) -> Grant | None:
        """The grant of *known*, unless it is time to ask Redis whether it still has it."""
        now = self._now()
        age = now - known.confirmed
        if age <= self.FRESH:
            return known.grant
        token = known.grant.token
        asking = self._single_flight.begin(token, lambda: self._look(token))
        if age <= self.STALE or (now < self._away_until and age <= self.ALONE):
            return known.grant
        try:
            async with asyncio.timeout(self.PATIENCE):
                return await asyncio.shield(asking)
        except (Unavailable, TimeoutError) as error:
            if age > self.ALONE:
                raise Unavailable("nobody can say whether the token is still good") from error
            self._away_until = now + self.FRESH
            return known.grant

    async def _look(self, token: str) -> Grant | None:
        grant = await self._stored.get(token)
        if grant is None or token in self._revoked:  # taken away while Redis was answering
            self._known.pop(token, None)
            return None
        self._keep(grant)
        return grant

    def _keep(self, grant: Grant) -> None:
        known = _Known(grant, self._now())
        if _weight(known) <= self._known.maxsize:
            self._known[grant.token] = known

    def _forget(self, token: str) -> None:
        self._revoked[token] = None
        self._known.pop(token, None)


def _weight(known: _Known) -> int:
    """At least as many bytes as *known* takes: short texts are seven times as large as in JSON, long ones are not."""
    return 1_000 + 8 * len(msgspec.json.encode(known.grant))


def _record(token: str) -> str:
    return keys.request(token)


def _key(token: str) -> str:
    return keys.grant(token)
