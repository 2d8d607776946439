"""Counting again: the events say the same as the counters, and a difference is found."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from metrics.adapters.counters import RedisCounters
from metrics.count import Counting, of_pulls
from metrics.domain.usage import Metric, Table
from metrics.recount import recount
from swell.jobs.messages import BuildDone, ImagesPulled, TokenRevoked
from swell.jobs.publish import publish
from swell.jobs.streams import Nats
from swell_embedded.stack import Stack

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
BUILDS = [
    BuildDone(
        id=f"bd-{number}_1",
        target_image="r/i:t",
        platform=("linux/amd64", "linux/arm64", "linux/arm/v7")[number % 3],
        succeeded=number % 2 == 0,
        finished=MONDAY + timedelta(hours=7 * number),
        organisation=("", "acme.org")[number % 2],
    )
    for number in range(20)
]
PULLS = [
    ImagesPulled(
        id=f"{number}",
        day=(MONDAY + timedelta(days=number // 8)).date().isoformat(),
        count=1 + number,
        architecture=("amd64", "arm64", "other", "")[number % 4],
        organisation=("", "acme.org", "lab.edu")[number % 3],
        fusion=number % 5 == 0,
    )
    for number in range(40)
]


@pytest.fixture
async def counters(nats: Nats, redis: Redis) -> RedisCounters:
    """Counters that have counted all events in the stream, some of them twice."""
    counters = RedisCounters(redis)
    counting = Counting(counters)
    for build in BUILDS:
        await publish(nats.stream, build)
        await counting.build_done(build, 1)
    for pulls in PULLS:
        await publish(nats.stream, pulls)
        await counting.images_pulled(pulls, 1)
        await counting.images_pulled(pulls, 2)
    await publish(nats.stream, TokenRevoked(id="t"))
    await nats.stream.publish(BuildDone.subject, b"nonsense")
    return counters


async def test_the_events_say_what_redis_says(nats: Nats, counters: RedisCounters) -> None:
    """All of it can be counted again from them: every metric, day, architecture and organisation."""
    assert (await counters.of_all(Table(Metric.PULLS)))[0] == sum(event.count for event in PULLS)
    assert await recount(nats.stream, counters) == []


async def test_recount_reports_an_event_that_was_not_counted(nats: Nats, counters: RedisCounters) -> None:
    """The operator sees a lost count."""
    await publish(nats.stream, ImagesPulled(id="lost", day="2026-12-24", count=1))

    assert await recount(nats.stream, counters) == [Table(Metric.PULLS), Table(Metric.PULLS, "2026-12-24")]


async def test_recount_reports_a_count_without_an_event(nats: Nats, counters: RedisCounters) -> None:
    """The operator sees a count too many."""
    await counters.add(of_pulls(ImagesPulled(id="made up", day=PULLS[0].day, count=1)))

    assert await recount(nats.stream, counters) == [Table(Metric.PULLS), Table(Metric.PULLS, PULLS[0].day)]


async def test_days_that_are_partly_forgotten_are_left_alone(nats: Nats, counters: RedisCounters) -> None:
    """The stream keeps a week, the counters everything; that is no difference."""
    await nats.stream.purge_stream("EVENTS", seq=3)

    assert await recount(nats.stream, counters) == []


async def test_recount_of_an_empty_stream_reports_nothing(nats: Nats, redis: Redis) -> None:
    """A new installation is correct."""
    assert await recount(nats.stream, RedisCounters(redis)) == []


async def test_an_operator_can_ask(backends: Stack, nats: Nats, counters: RedisCounters) -> None:
    """`python -m metrics.recount` ends well when all is well, and not when it is not."""

    def run() -> subprocess.CompletedProcess[bytes]:
        command = (sys.executable, "-m", "metrics.recount")
        return subprocess.run(command, env=os.environ | backends.env, capture_output=True, timeout=60, check=False)

    well = run()
    await publish(nats.stream, ImagesPulled(id="lost", day="2026-12-24", count=1))
    not_well = run()

    assert well.returncode == 0, well.stderr
    assert not_well.returncode == 1
    assert b"2026-12-24" in not_well.stdout + not_well.stderr
