"""Claims on builds: while one builder is at it, no other begins the same, though the queue may think it gone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.store import keys
from swell.store.leases import Leases


class RedisClaims:
    """A claim that is not renewed is void after *lease*, so that the builds of a dead builder are free soon."""

    def __init__(self, redis: Redis, lease: timedelta) -> None:
        self._leases = Leases(redis, lease)

    @asynccontextmanager
    async def hold(self, build_id: str) -> AsyncIterator[None]:
        """Be the only one who is at *build_id* for the length of the block.

        Raises:
            Unavailable: somebody else is.
        """
        if (held := await self._leases.take(keys.build(build_id, keys.LEASE))) is None:
            raise Unavailable(f"another builder is at {build_id}")
        async with held:
            yield
