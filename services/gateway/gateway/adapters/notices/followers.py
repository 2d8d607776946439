"""Who has requested what has not ended yet, in Redis."""

from datetime import timedelta

import msgspec
from redis.asyncio import Redis

from gateway.domain.notices import Follower
from swell.store import keys
from swell.store.connections.redis import raw, translated

LIFE = timedelta(days=7)
"""As long as the events of ends are stored."""
MOST = 100

_ADD = f"""
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= {MOST} then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class RedisFollowers:
    """A hash of followers by user for each record.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)

    async def add(self, record_id: str, follower: Follower) -> None:
        """Store *follower*; beyond 100 of a record, nothing is stored."""
        content, seconds = msgspec.json.encode(follower), int(LIFE.total_seconds())
        with translated():
            await self._add([keys.followers(record_id)], [follower.user, content, seconds])

    async def get(self, record_id: str) -> list[Follower]:
        with translated():
            stored = await self._redis.hvals(keys.followers(record_id))
        return [msgspec.json.decode(raw(content), type=Follower) for content in stored]

    async def find(self, record_id: str, user: str) -> Follower | None:
        with translated():
            content = await self._redis.hget(keys.followers(record_id), user)
        return msgspec.json.decode(raw(content), type=Follower) if content else None

    async def remove(self, record_id: str, user: str) -> None:
        with translated():
            await self._redis.hdel(keys.followers(record_id), user)
