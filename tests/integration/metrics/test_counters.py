"""Counters: one suite for those in memory and those in Redis."""

import asyncio

import pytest
from redis.asyncio import Redis

from metrics.adapters.counters import MemoryCounters, RedisCounters
from metrics.count import Counters, Metric

MONDAY, TUESDAY = "2026-11-23", "2026-11-24"


@pytest.fixture(params=["memory", "redis"])
def counters(request: pytest.FixtureRequest, redis: Redis) -> Counters:
    return MemoryCounters() if request.param == "memory" else RedisCounters(redis)


async def test_what_never_happened_is_zero(counters: Counters) -> None:
    assert await counters.total(Metric.PULLS, None) == 0
    assert await counters.total(Metric.PULLS, MONDAY) == 0


async def test_days_add_up_to_the_total(counters: Counters) -> None:
    await counters.add("a", Metric.PULLS, MONDAY, 2)
    await counters.add("b", Metric.PULLS, TUESDAY, 3)

    assert [await counters.total(Metric.PULLS, day) for day in (MONDAY, TUESDAY, None)] == [2, 3, 5]


async def test_an_event_counts_once(counters: Counters) -> None:
    """Also when its copies come to several processes at the same moment."""
    counted = await asyncio.gather(*(counters.add("a", Metric.BUILDS, MONDAY, 1) for _ in range(20)))

    assert sum(counted) == 1
    assert await counters.total(Metric.BUILDS, None) == 1


async def test_metrics_do_not_share_their_events(counters: Counters) -> None:
    """Two kinds of events may use one id."""
    for metric in Metric:
        assert await counters.add("a", metric, MONDAY, 1)

    assert [await counters.total(metric, MONDAY) for metric in Metric] == [1, 1]


async def test_what_redis_remembers_of_an_event_goes_but_the_count_stays(redis: Redis) -> None:
    """The events' memory outlives their stream (7 days) and no more; the counts are for ever."""
    await RedisCounters(redis).add("a", Metric.BUILDS, MONDAY, 1)

    lives = {key: await redis.ttl(key) for key in await redis.keys()}
    assert lives.pop(b"swell:metrics") == -1
    assert [7 * 86400 < life <= 8 * 86400 for life in lives.values()] == [True]
