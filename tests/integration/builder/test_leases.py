"""Claims on builds, in a real Redis."""

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from builder.adapters.leases import RedisLeases
from swell.errors import Unavailable

LEASE = timedelta(seconds=3)  # a heartbeat may come late on a machine that is busy


async def test_only_one_builder_is_at_a_build(redis: Redis) -> None:
    """The queue gives a job to another builder when it does not hear from the first for a while; that one may live."""
    claims, others = RedisLeases(redis, LEASE), RedisLeases(redis, LEASE)
    async with claims.hold("bd-1_1"):
        with pytest.raises(Unavailable, match="another builder"):
            async with others.hold("bd-1_1"):
                pytest.fail("two builders at one build")
        async with others.hold("bd-2_1"):
            """Other builds are free."""
    async with others.hold("bd-1_1"):
        """So is this one, now."""
