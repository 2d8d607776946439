"""When access to blobs was proven, in Redis: small keys that expire by themselves."""

from contextlib import suppress
from datetime import timedelta

from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.store import keys
from swell.store.redis import text, translated


class RedisProofs:
    """Without Redis, each replica has only its own memory."""

    def __init__(self, redis: Redis, kept: timedelta = timedelta(days=1)) -> None:
        """Proofs expire after *kept*."""
        self._redis = redis
        self._seconds = max(1, int(kept.total_seconds()))

    async def get(self, key: str) -> float | None:
        with suppress(Unavailable), translated():
            found = await self._redis.get(_name(key))
            return float(text(found)) if found else None
        return None

    async def put(self, key: str, proven: float) -> None:
        with suppress(Unavailable), translated():
            await self._redis.set(_name(key), repr(proven), ex=self._seconds)

    async def drop(self, key: str) -> None:
        with suppress(Unavailable), translated():
            await self._redis.unlink(_name(key))


def _name(key: str) -> str:
    return keys.access(key)
