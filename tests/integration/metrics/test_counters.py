"""Counters: one suite for those in memory and those in Redis."""

import asyncio

import msgspec
import pytest
from redis.asyncio import Redis

from metrics.adapters.counters import MemoryCounters, RedisCounters
from metrics.count import Counters
from metrics.domain.usage import Metric, Table, Use

MONDAY, TUESDAY = "2026-11-23", "2026-11-24"
PULLS = Table(Metric.PULLS)


def use(
    event_id: str,
    count: int,
    day: str = MONDAY,
    architecture: str = "amd64",
    organisation: str = "",
    metrics: tuple[Metric, ...] = (Metric.PULLS,),
) -> Use:
    return Use(
        event_id=event_id, metrics=metrics, day=day, architecture=architecture, organisation=organisation, count=count
    )


@pytest.fixture(params=["memory", "redis"])
def counters(request: pytest.FixtureRequest, redis: Redis) -> Counters:
    return MemoryCounters() if request.param == "memory" else RedisCounters(redis)


async def test_an_empty_table_counts_zero(counters: Counters) -> None:
    """A missing key is not an error."""
    for table in (PULLS, PULLS._replace(day=MONDAY)):
        assert await counters.of_all(table) == (0, {})
        assert await counters.of_one(table, "acme.org") == 0


async def test_days_add_up_to_the_total(counters: Counters) -> None:
    """So do organisations and anonymous use, and architectures."""
    await counters.add(use("a", 2, organisation="acme.org"))
    await counters.add(use("b", 3, TUESDAY))
    await counters.add(use("c", 4, TUESDAY, "arm64", "acme.org"))
    await counters.add(use("d", 5, TUESDAY, "arm64", "größe.org"))

    assert await counters.of_all(PULLS) == (14, {"acme.org": 6, "größe.org": 5})
    assert await counters.of_all(PULLS._replace(day=MONDAY)) == (2, {"acme.org": 2})
    assert await counters.of_all(PULLS._replace(day=TUESDAY)) == (12, {"acme.org": 4, "größe.org": 5})
    assert await counters.of_all(PULLS._replace(architecture="amd64")) == (5, {"acme.org": 2})
    assert await counters.of_all(Table(Metric.PULLS, TUESDAY, "arm64")) == (9, {"acme.org": 4, "größe.org": 5})
    assert await counters.of_one(PULLS, "größe.org") == 5
    assert await counters.of_one(Table(Metric.PULLS, TUESDAY, "arm64"), "acme.org") == 4


async def test_an_event_counts_once(counters: Counters) -> None:
    """Also when its copies come to several processes at the same moment."""
    counted = await asyncio.gather(*(counters.add(use("a", 1, organisation="acme.org")) for _ in range(20)))

    assert sum(counted) == 1
    assert await counters.of_all(PULLS) == (1, {"acme.org": 1})


async def test_an_event_counts_in_all_of_its_metrics(counters: Counters) -> None:
    """And in no other."""
    await counters.add(use("a", 3, metrics=(Metric.PULLS, Metric.FUSION)))

    assert [(await counters.of_all(Table(metric)))[0] for metric in Metric] == [0, 3, 3, 0, 0, 0, 0]


async def test_each_metric_of_an_event_has_its_own_count(counters: Counters) -> None:
    """Bytes and cache hits are not the number of pulls."""
    event = use("a", 2, organisation="acme.org", metrics=(Metric.PULLS, Metric.BYTES, Metric.HITS))
    await counters.add(msgspec.structs.replace(event, bytes=5 << 30, hits=7))

    for metric, count in ((Metric.PULLS, 2), (Metric.BYTES, 5 << 30), (Metric.HITS, 7)):
        assert await counters.of_all(Table(metric, MONDAY, "amd64")) == (count, {"acme.org": count})


async def test_what_redis_remembers_of_an_event_goes_but_the_count_stays(redis: Redis) -> None:
    """The events' memory outlives their stream (7 days) and no more; the counts are for ever."""
    await RedisCounters(redis).add(use("a", 1))

    lives = {key: await redis.ttl(key) for key in await redis.keys()}
    assert 7 * 86400 < lives.pop(b"swell:counted:a") <= 8 * 86400
    assert set(lives.values()) == {-1}
    assert len(lives) == 4
