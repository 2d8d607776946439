"""Leases among replicas: one works, the others wait for a bounded time."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from structlog.testing import capture_logs

from registry_proxy.adapters.leases import RedisLeases
from swell.errors import Unavailable

KEY = "w5bgtyvxnpli57dtojtubvohem:sha256:0"


async def test_one_works_at_a_time(redis: Redis) -> None:
    """Each replica has its own; the key alone is common."""
    at_work, most = 0, 0

    async def work(leases: RedisLeases) -> None:
        nonlocal at_work, most
        async with leases.hold("a"):
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0.01)
            at_work -= 1

    await asyncio.gather(*(work(RedisLeases(redis)) for _ in range(5)))

    assert most == 1
    assert await redis.keys() == []


async def test_a_caller_continues_without_the_lease_after_the_timeout(redis: Redis) -> None:
    """A lease saves work, but a pull must not fail for it. The other's lease is not touched."""
    async with RedisLeases(redis).hold("a"):
        (turn,) = await redis.keys()
        holder = await redis.get(turn)

        async with RedisLeases(redis, timeout=timedelta(milliseconds=120)).hold("a"):
            pass

        assert await redis.get(turn) == holder


async def test_the_name_of_a_lease_hides_its_token(redis: Redis) -> None:
    """The lease's name is logged, and tokens must not be."""
    with capture_logs() as lines:
        hurried = RedisLeases(redis, timeout=timedelta(milliseconds=60))
        async with RedisLeases(redis).hold(KEY), hurried.hold(KEY):
            pass

    assert [line["event"] for line in lines] == ["continued without the lease"]
    assert KEY.partition(":")[0] not in str(lines)


async def test_without_redis_a_lease_is_unavailable() -> None:
    """The caller gets `Unavailable` instead of waiting."""
    nowhere = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    with pytest.raises(Unavailable):
        async with RedisLeases(nowhere).hold("a"):
            pass
    await nowhere.aclose()
