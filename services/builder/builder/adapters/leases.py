"""Leases on builds: one builder at a time runs a build, although the queue may deliver its job twice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.store import keys
from swell.store.leases import Leases


class RedisLeases:
    """Leases expire after *lease* unless renewed: another builder can take the builds of a crashed one."""

    def __init__(self, redis: Redis, lease: timedelta) -> None:
        self._leases = Leases(redis, lease)

    @asynccontextmanager
    async def hold(self, build_id: str) -> AsyncIterator[None]:
        """Hold the lease of *build_id* for the length of the block.

        Raises:
            Unavailable: another builder holds it.
        """
        if (held := await self._leases.take(keys.build(build_id, keys.LEASE))) is None:
            raise Unavailable(f"another builder runs {build_id}")
        async with held:
            yield
