"""The times of successful access checks, in Redis: small keys that expire."""

from contextlib import suppress
from datetime import timedelta

from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.store import keys
from swell.store.connections.redis import text, translated


class RedisProofs:
    """While Redis is unavailable, each replica uses only its own memory."""

    def __init__(self, redis: Redis, lifetime: timedelta = timedelta(days=1)) -> None:
        """Entries expire after *lifetime*."""
        self._redis = redis
        self._seconds = max(1, int(lifetime.total_seconds()))

    async def get(self, key: str) -> float | None:
        with suppress(Unavailable), translated():
            proven = await self._redis.get(_name(key))
            return float(text(proven)) if proven else None
        return None

    async def put(self, key: str, proven: float) -> None:
        with suppress(Unavailable), translated():
            await self._redis.set(_name(key), repr(proven), ex=self._seconds)

    async def drop(self, key: str) -> None:
        with suppress(Unavailable), translated():
            await self._redis.unlink(_name(key))


def _name(key: str) -> str:
    return keys.access(key)
