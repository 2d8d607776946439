"""Grants in Redis, and the process's own memory of them."""

import time

import msgspec
from cachetools import LRUCache
from redis.asyncio import Redis

from gateway.domain.grant import Grant
from swell.flights import Flights
from swell.store.redis import translated


class RedisGrants:
    """Each grant is one key that disappears when the grant expires."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, grant: Grant) -> None:
        with translated():
            await self._redis.set(_key(grant.token), msgspec.json.encode(grant), exat=int(grant.expires.timestamp()))

    async def get(self, token: str) -> Grant | None:
        with translated():
            found = await self._redis.get(_key(token))
        return msgspec.json.decode(found, type=Grant) if found else None


class CachedGrants:
    """The last *size* grants that were given or asked for, until they expire; tokens that are unknown are asked for again."""

    def __init__(self, stored: RedisGrants, size: int = 10_000) -> None:
        self._stored = stored
        self._known: LRUCache[str, Grant] = LRUCache(size)
        self._flights: Flights[str, Grant | None] = Flights()

    async def put(self, grant: Grant) -> None:
        await self._stored.put(grant)
        self._known[grant.token] = grant

    async def get(self, token: str) -> Grant | None:
        grant = self._known.get(token)
        if grant is None:
            grant = await self._flights.join(token, lambda: self._stored.get(token))
            if grant is not None:
                self._known[token] = grant
        return grant if grant and grant.expires.timestamp() > time.time() else None


def _key(token: str) -> str:
    return f"swell:grant:{token}"
