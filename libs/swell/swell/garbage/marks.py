"""When something was first found unused: what has no time of its own is removed only after it was unused for an age."""

import time
from collections.abc import Callable
from datetime import timedelta

from redis.asyncio import Redis

from swell.store import keys
from swell.store.connections.redis import translated


class Marks:
    """Marks of one *kind*. A dry run reads them and changes nothing.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(
        self, redis: Redis, kind: str, age: timedelta, *, deletes: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._redis = redis
        self._key = keys.garbage(kind)
        self._age = age.total_seconds()
        self._deletes = deletes

    async def is_due(self, name: str) -> bool:
        """Whether *name*, which is not used now, was marked at least the age ago; it is marked if it was not."""
        now = self._clock()
        with translated():
            since = await self._redis.zscore(self._key, name)
            if since is None and self._deletes:
                await self._redis.zadd(self._key, {name: now})
        return since is not None and now - since >= self._age

    async def clear(self, name: str) -> None:
        """Remove the mark: *name* is used, or was removed."""
        if self._deletes:
            with translated():
                await self._redis.zrem(self._key, name)
