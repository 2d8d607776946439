"""Turns in Redis: one replica works, the others wait, and nobody waits for the dead."""

import asyncio
import time
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from registry_proxy.adapters.turns import RedisTurns
from swell.errors import Unavailable
from swell.store.redis import text

LEASE = timedelta(milliseconds=300)


async def test_one_works_at_a_time(redis: Redis) -> None:
    """Each replica has its own; the key alone is common."""
    at_work, most = 0, 0

    async def work(turns: RedisTurns) -> None:
        nonlocal at_work, most
        async with turns.take("a"):
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0.01)
            at_work -= 1

    await asyncio.gather(*(work(RedisTurns(redis)) for _ in range(5)))

    assert most == 1
    assert await redis.keys() == []


async def test_other_work_does_not_wait(redis: Redis) -> None:
    turns = RedisTurns(redis)

    async with asyncio.timeout(2), turns.take("a"), turns.take("b"):
        assert {text(key) for key in await redis.keys()} == {"swell:turn:a", "swell:turn:b"}


async def test_a_turn_lasts_as_long_as_its_work(redis: Redis) -> None:
    """However much longer than the lease that is: it is renewed."""
    turns = RedisTurns(redis, LEASE)
    async with turns.take("a"):
        await asyncio.sleep(3 * LEASE.total_seconds())

        assert await redis.exists("swell:turn:a")


async def test_the_turn_of_a_dead_holder_ends(redis: Redis) -> None:
    """Nobody renews its lease any more."""
    await redis.set("swell:turn:a", "somebody who was killed", px=LEASE)
    started = time.monotonic()
    async with RedisTurns(redis, LEASE).take("a"):
        assert LEASE.total_seconds() * 0.5 < time.monotonic() - started < 2


async def test_a_turn_ends_when_its_work_fails(redis: Redis) -> None:
    with pytest.raises(KeyError):
        async with RedisTurns(redis).take("a"):
            raise KeyError

    assert await redis.keys() == []


async def test_whoever_has_waited_long_enough_goes_ahead(redis: Redis) -> None:
    """Turns save work; a pull is worth more. The turn of the other one is left alone."""
    await redis.set("swell:turn:a", "somebody slow")

    async with RedisTurns(redis, patience=timedelta(milliseconds=120)).take("a"):
        pass

    assert await redis.get("swell:turn:a") == b"somebody slow"


async def test_without_redis_there_are_no_turns() -> None:
    nowhere = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    with pytest.raises(Unavailable):
        async with RedisTurns(nowhere).take("a"):
            pass
    await nowhere.aclose()
