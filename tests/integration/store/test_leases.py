"""Leases in a real Redis: one holds, the others wait or leave, and a lease of a crashed process expires."""

import asyncio
import time
from datetime import timedelta
from itertools import pairwise

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from swell.errors import Unavailable
from swell.store.leases import Leases

TERM = timedelta(milliseconds=1500)  # it is renewed after a third of it, also on a machine that is busy
TIME_LIMIT = timedelta(seconds=30)


async def test_only_one_has_a_lease(redis: Redis) -> None:
    """Each process has leases of its own; the key alone is common. Other keys are free, and so is this one then."""
    leases, others = Leases(redis, TERM), Leases(redis, TERM)
    held = await leases.take("a")
    assert held
    async with held:
        assert await others.take("a") is None
        assert await leases.take("a") is None
        assert await others.take("b")
    assert await others.take("a")


async def test_a_lease_lasts_as_long_as_its_work(redis: Redis) -> None:
    """However much longer than the term that is: it is renewed long before it would be void."""
    held, seen = await Leases(redis, TERM).take("a"), []
    assert held
    async with held:
        until = time.monotonic() + 3 * TERM.total_seconds()
        while time.monotonic() < until:
            seen.append(await redis.pttl("a"))
            await asyncio.sleep(0.01)

    assert min(seen) > 0
    assert sum(later > earlier for earlier, later in pairwise(seen)) > 2
    assert await redis.keys() == []


async def test_the_lease_of_the_dead_is_void_after_its_term(redis: Redis) -> None:
    """It is not renewed any more, and not released; a process that waits has it then."""
    assert await Leases(redis, TERM).take("a")
    started = time.monotonic()

    assert await Leases(redis, TERM).take("a", TIME_LIMIT)
    assert time.monotonic() - started > TERM.total_seconds() * 0.5


async def test_a_lease_is_released_when_its_block_fails(redis: Redis) -> None:
    """The next process need not wait for the expiry."""
    held = await Leases(redis, TERM).take("a")
    assert held
    with pytest.raises(KeyError):
        async with held:
            raise KeyError

    assert await redis.keys() == []


async def test_a_waiter_has_it_as_soon_as_it_is_released(redis: Redis) -> None:
    """Long before it would be void."""
    leases = Leases(redis, timedelta(minutes=1))
    held = await leases.take("a")
    assert held
    async with held:
        waiting = asyncio.create_task(leases.take("a", timedelta(minutes=1)))
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        assert await waiting


async def test_waiting_has_an_end(redis: Redis) -> None:
    """The lease of the other one is left alone."""
    await redis.set("a", "slow holder")

    assert await Leases(redis, TERM).take("a", timedelta(milliseconds=120)) is None
    assert await redis.get("a") == b"slow holder"


async def test_a_lost_lease_does_not_affect_its_next_holder(redis: Redis) -> None:
    """A process that stopped for longer than the term neither renews nor releases the lease of another one."""
    held = await Leases(redis, TERM).take("a")
    assert held
    async with held:
        await redis.set("a", "another", px=60_000)
        await asyncio.sleep(TERM.total_seconds())
        assert await redis.pttl("a") > 50_000

    assert await redis.get("a") == b"another"


async def test_taking_a_lease_without_redis_raises_unavailable() -> None:
    """Exclusive access is never assumed."""
    nowhere = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    with pytest.raises(Unavailable):
        await Leases(nowhere, TERM).take("a")
    await nowhere.aclose()
