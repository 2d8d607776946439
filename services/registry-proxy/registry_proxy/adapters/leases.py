"""Leases among replicas, in Redis: they expire soon after their holder crashes."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta

from redis.asyncio import Redis

from swell.log import log
from swell.store import keys
from swell.store.leases import Leases


class RedisLeases:
    """A lease is held while its block runs; *term* after its holder crashed, another replica can take it.

    Leases save duplicate work and protect nothing: after *timeout*, a caller continues without one.
    """

    def __init__(
        self, redis: Redis, term: timedelta = timedelta(seconds=3), timeout: timedelta = timedelta(seconds=45)
    ) -> None:
        self._leases = Leases(redis, term)
        self._timeout = timeout

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Wait for the lease of *key*, and hold it while the block runs.

        Raises:
            Unavailable: Redis is unavailable.
        """
        name = hashlib.sha256(key.encode()).hexdigest()[:32]  # keys contain tokens, which must not be logged
        if (lease := await self._leases.take(keys.augmentation_lease(name), self._timeout)) is None:
            log.warning("continued without the lease", lease=name)
        async with lease or nullcontext():
            yield
