"""The builds that users have requested, in Redis. Names of users are hashed."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis

from swell.store import keys
from swell.store.connections.redis import text, translated

MOST_BUILDS = 500  # of a user; the oldest are forgotten


class RedisUsersBuilds:
    """A sorted set for each user, which lives *life* after the user's last build."""

    def __init__(self, redis: Redis, life: timedelta, now: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._life = life
        self._now = now

    async def add(self, user: str, build_id: str) -> None:
        """Store that *user* has requested a build now; raises `Unavailable`."""
        key = keys.builds_of(user)
        with translated():
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.zadd(key, {build_id: int(self._now() * 1e6)})
                pipeline.zremrangebyrank(key, 0, -MOST_BUILDS - 1)
                pipeline.expire(key, self._life)
                await pipeline.execute()

    async def page(self, user: str, before: int | None, limit: int) -> tuple[Sequence[str], int | None]:
        """At most *limit* ids of builds, newest first, and the cursor of the next page; raises `Unavailable`."""
        highest = "+inf" if before is None else f"({before}"
        with translated():
            found: Any = await self._redis.zrevrangebyscore(
                keys.builds_of(user), highest, "-inf", start=0, num=limit, withscores=True
            )
        following = int(found[-1][1]) if len(found) == limit else None
        return [text(build_id) for build_id, _ in found], following
