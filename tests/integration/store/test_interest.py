"""Whether a build is wanted, asked of a real Redis."""

import asyncio

import pytest
from redis.asyncio import Redis

from builder.adapters.interest import BuildInterest
from swell.store.builds import RedisBuilds


@pytest.mark.parametrize("steps", range(12))
async def test_a_wait_that_is_cancelled_during_a_redis_call_ends(redis: Redis, steps: int) -> None:
    """At any moment: Redis's client alone would swallow it, and the wait would go on for ever."""
    waiting = asyncio.create_task(BuildInterest(RedisBuilds(redis)).wait_until_cancelled("bd-1_1"))
    for _ in range(steps):
        await asyncio.sleep(0)
    waiting.cancel()

    done, _ = await asyncio.wait({waiting}, timeout=30)
    await redis.ping()  # what was under way comes to its end

    assert done and waiting.cancelled()
