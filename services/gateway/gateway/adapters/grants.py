"""Grants in Redis, and the process's own memory of them."""

import time
from datetime import timedelta

import msgspec
from cachetools import LRUCache
from redis.asyncio import Redis

from gateway.domain.grant import Grant
from swell.api.containers import ContainerRecord
from swell.flights import Flights
from swell.jobs.messages import TokenRevoked
from swell.store.redis import translated


class RedisGrants:
    """Each grant is one key that disappears when the grant expires; its record is another one that lives *life*."""

    def __init__(self, redis: Redis, life: timedelta = timedelta(days=90)) -> None:
        self._redis = redis
        self._life = life

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.set(_key(grant.token), msgspec.json.encode(grant), exat=int(grant.expires.timestamp()))
                pipe.set(_record(grant.token), msgspec.json.encode(record), ex=self._life)
                await pipe.execute()

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


class CachedGrants:
    """The last *size* grants that were given or asked for, until they expire; unknown tokens are asked for again."""

    def __init__(self, stored: RedisGrants, size: int = 10_000) -> None:
        self._stored = stored
        self._known: LRUCache[str, Grant] = LRUCache(size)
        self._flights: Flights[str, Grant | None] = Flights()

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        await self._stored.put(grant, record)
        self._known[grant.token] = grant

    async def record(self, token: str) -> ContainerRecord | None:
        return await self._stored.record(token)

    async def revoke(self, token: str) -> bool:
        was_there = await self._stored.revoke(token)
        self._known.pop(token, None)
        return was_there

    def revoked(self, news: TokenRevoked) -> None:
        """Another gateway has taken this grant away."""
        self._known.pop(news.id, None)

    async def get(self, token: str) -> Grant | None:
        grant = self._known.get(token)
        if grant is None:
            grant = await self._flights.join(token, lambda: self._stored.get(token))
            if grant is not None:
                self._known[token] = grant
        return grant if grant and grant.expires.timestamp() > time.time() else None


def _record(token: str) -> str:
    return f"swell:request:{token}"


def _key(token: str) -> str:
    return f"swell:grant:{token}"
