"""Claims on builds, in a real Redis."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from builder.adapters.claims import RedisClaims
from swell.errors import Unavailable

LEASE = timedelta(milliseconds=300)


async def test_only_one_builder_is_at_a_build(redis: Redis) -> None:
    """The queue gives a job to another builder when it does not hear from the first for a while; that one may live."""
    claims, others = RedisClaims(redis, LEASE), RedisClaims(redis, LEASE)
    async with claims.hold("bd-1_1"):
        with pytest.raises(Unavailable, match="another builder"):
            async with others.hold("bd-1_1"):
                pytest.fail("two builders at one build")
        async with others.hold("bd-2_1"):
            """Other builds are free."""
    async with others.hold("bd-1_1"):
        """So is this one, now."""


async def test_a_claim_lasts_as_long_as_its_build(redis: Redis) -> None:
    """Longer than the lease."""
    claims = RedisClaims(redis, LEASE)
    async with claims.hold("bd-1_1"):
        await asyncio.sleep(3 * LEASE.total_seconds())
        with pytest.raises(Unavailable):
            async with claims.hold("bd-1_1"):
                pytest.fail("the claim was not renewed")


async def test_the_claim_of_a_dead_builder_is_void_after_its_lease(redis: Redis) -> None:
    """It is not renewed any more; nobody takes it back."""
    left_behind = redis.lock("swell:build:bd-1_1:claim", timeout=LEASE.total_seconds())
    assert await left_behind.acquire()

    async with asyncio.timeout(5):
        while True:
            try:
                async with RedisClaims(redis, LEASE).hold("bd-1_1"):
                    return
            except Unavailable:
                await asyncio.sleep(0.05)
