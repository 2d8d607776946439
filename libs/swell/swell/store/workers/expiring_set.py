"""Names that workers publish again and again in Redis, and that expire when they stop."""

from datetime import timedelta

from redis.asyncio import Redis

from swell.store.connections.redis import text, translated

MAX_ENTRIES = 100

_ADD = """
local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[2]))
"""

_READ = f"""
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. redis.call('TIME')[1], '+inf', 'LIMIT', 0, {MAX_ENTRIES})
"""


class ExpiringSet:
    """A sorted set at *key*: each entry expires *life* after it was last added, by the clock of Redis.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis, key: str, life: timedelta) -> None:
        self._add = redis.register_script(_ADD)
        self._read = redis.register_script(_READ)
        self._key = key
        self._life = life.total_seconds()

    async def add(self, entry: str | bytes) -> None:
        """Add *entry*, or extend its life."""
        with translated():
            await self._add([self._key], [entry, self._life])

    async def entries(self) -> list[str]:
        """Return the entries that have not expired, at most 100."""
        with translated():
            stored = await self._read([self._key])
        return [text(entry) for entry in stored]
