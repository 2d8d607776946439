"""Claims on builds: while one builder is at it, no other begins the same, though the queue may think it gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from swell.errors import Unavailable
from swell.log import log
from swell.store.redis import translated


class RedisClaims:
    """A claim that is not renewed is void after *lease*, so that the builds of a dead builder are free soon."""

    def __init__(self, redis: Redis, lease: timedelta) -> None:
        self._redis = redis
        self._lease = lease.total_seconds()

    @asynccontextmanager
    async def hold(self, build_id: str) -> AsyncIterator[None]:
        """Be the only one who is at *build_id* for the length of the block.

        Raises:
            Unavailable: somebody else is.
        """
        lock = self._redis.lock(f"swell:build:{build_id}:claim", timeout=self._lease, blocking=False)
        with translated():
            if not await lock.acquire():
                raise Unavailable(f"another builder is at {build_id}")
        renewing = asyncio.create_task(self._renew(lock, build_id))
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(LockError, RedisError):  # it is void by itself, soon
                await lock.release()

    async def _renew(self, lock: Lock, build_id: str) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await lock.reacquire()
            except (LockError, RedisError) as error:
                log.warning("claim on a build not renewed", build_id=build_id, error=repr(error))
