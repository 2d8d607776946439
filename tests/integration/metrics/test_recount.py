"""Counting again: the events say the same as the counters, and a difference is found."""

import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from metrics.adapters.archive import S3Archive
from metrics.adapters.counters import RedisCounters
from metrics.adapters.events import last_uncertain_day, uses
from metrics.count import Counting, of_pulls
from metrics.domain.usage import Metric, Table, Use, tables_of_day
from metrics.roll_up import Difference, RollUp
from swell.jobs.messages import BuildDone, ImagesPulled, TokenRevoked
from swell.jobs.publish import publish
from swell.jobs.streams import Nats
from swell.store import s3_objects
from swell_embedded.processes import probes
from swell_embedded.stack import Stack
from tests.stores import s3_of

MONDAY = datetime(2998, 11, 23, 12, tzinfo=UTC)  # after the creation of the stream
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


@pytest.fixture
async def archive(backends: Stack) -> AsyncIterator[S3Archive]:
    """The roll-ups of this test: a bucket of its own."""
    s3, bucket = s3_of(backends.env), f"b{uuid.uuid4().hex}"
    await probes.buckets(s3.endpoint.removeprefix("http://"), s3.access_key, s3.secret_key, (bucket,))()
    async with s3_objects.connect(s3, bucket) as opened:
        yield S3Archive(opened)


@pytest.fixture
async def roll_up(nats: Nats, counters: RedisCounters, archive: S3Archive) -> RollUp:
    return RollUp(counters, archive, lambda: uses(nats.stream), await last_uncertain_day(nats.stream))


async def tables_of(counters: RedisCounters) -> dict[Table, tuple[int, Mapping[str, int]]]:
    """Return all tables that are not empty."""
    days = ["", *await counters.days()]
    tables = [table._replace(day=day or None) for day in days for table in tables_of_day(day)]
    counts = {table: await counters.of_all(table) for table in tables}
    return {table: each for table, each in counts.items() if each[0]}


async def test_the_events_say_what_redis_says(counters: RedisCounters, roll_up: RollUp) -> None:
    """All of it can be counted again from them: every metric, day, architecture and organisation."""
    assert (await counters.of_all(Table(Metric.PULLS)))[0] == sum(event.count for event in PULLS)
    assert await roll_up.differences() == []
    assert await roll_up.repair() == []


async def test_an_event_that_was_not_counted_is_counted(nats: Nats, counters: RedisCounters, roll_up: RollUp) -> None:
    """The report names it before; an event is still counted once."""
    lost = ImagesPulled(id="lost", day="2999-12-24", count=3, organisation="acme.org")
    before = await tables_of(counters)
    await publish(nats.stream, lost)
    tables = [Table(Metric.PULLS), Table(Metric.PULLS, "2999-12-24")]
    missing = {"": 3, "acme.org": 3}

    assert sorted(await roll_up.differences(), key=str) == sorted((Difference(t, missing) for t in tables), key=str)
    await roll_up.repair()
    assert await roll_up.differences() == []
    await Counting(counters).images_pulled(lost, 1)
    assert (await counters.of_all(tables[1])) == (3, {"acme.org": 3})
    assert (await counters.of_all(tables[0]))[0] == before[tables[0]][0] + 3


async def test_a_count_without_an_event_is_taken_back(counters: RedisCounters, roll_up: RollUp) -> None:
    """The stream has all events of that day."""
    before = await tables_of(counters)
    await counters.add(of_pulls(ImagesPulled(id="made up", day=PULLS[0].day, count=1)))
    await counters.adjust(Table(Metric.BUILDS, PULLS[0].day), {"": -1, "lab.edu": 5})

    assert len(await roll_up.repair()) == 3
    assert await tables_of(counters) == before


async def test_counts_of_days_that_the_stream_has_forgotten_are_kept(
    nats: Nats, counters: RedisCounters, archive: S3Archive
) -> None:
    """The stream keeps a week, the counters everything; that is no difference."""
    await nats.stream.purge_stream("EVENTS", seq=3)
    roll_up = RollUp(counters, archive, lambda: uses(nats.stream), MONDAY.date().isoformat())

    assert await roll_up.repair() == []


async def test_counts_survive_the_loss_of_redis_and_of_events(
    nats: Nats, redis: Redis, counters: RedisCounters, archive: S3Archive, roll_up: RollUp
) -> None:
    """The roll-ups have the days that the stream has not; the sums are right again."""
    before = await tables_of(counters)
    await roll_up.store(PULLS[0].day)
    await redis.flushall()
    await nats.stream.purge_stream("EVENTS", seq=30)
    after = RollUp(counters, archive, lambda: uses(nats.stream), BUILDS[-1].finished.date().isoformat())

    assert await after.repair()
    assert await tables_of(counters) == before
    assert await after.repair() == []


async def test_events_that_arrive_during_a_repair_are_counted_once(
    nats: Nats, counters: RedisCounters, archive: S3Archive
) -> None:
    """What was read before and after such an event differs; that is no error to correct."""
    counting = Counting(counters)
    late = iter(range(1000))

    async def with_late_events() -> AsyncIterator[Use]:
        async for use in uses(nats.stream):
            yield use
        event = ImagesPulled(id=f"late {next(late)}", day=PULLS[0].day, count=1)
        await publish(nats.stream, event)
        await counting.images_pulled(event, 1)

    roll_up = RollUp(counters, archive, with_late_events, await last_uncertain_day(nats.stream))
    before = (await counters.of_all(Table(Metric.PULLS)))[0]
    for _ in range(3):
        await roll_up.repair()

    assert (await counters.of_all(Table(Metric.PULLS)))[0] == before + next(late)


async def test_the_day_on_which_the_stream_was_created_is_uncertain(nats: Nats) -> None:
    """NATS may have lost the events of the hours before; without events, too."""
    assert await last_uncertain_day(nats.stream) == datetime.now(UTC).date().isoformat()
    await publish(nats.stream, PULLS[0])
    await nats.stream.purge_stream("EVENTS")
    await publish(nats.stream, PULLS[1])

    assert await last_uncertain_day(nats.stream) == datetime.now(UTC).date().isoformat()


async def test_recount_of_an_empty_stream_reports_nothing(nats: Nats, redis: Redis, archive: S3Archive) -> None:
    """A new installation is correct."""
    roll_up = RollUp(RedisCounters(redis), archive, lambda: uses(nats.stream), await last_uncertain_day(nats.stream))

    assert await roll_up.repair() == []


async def test_an_operator_can_ask(backends: Stack, nats: Nats, counters: RedisCounters) -> None:
    """`python -m metrics.recount` ends well when all is well, and not when it is not; `--repair` makes it well."""

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = (sys.executable, "-m", "metrics.recount", *arguments)
        return subprocess.run(command, env=os.environ | backends.env, capture_output=True, timeout=60, check=False)

    well = run()
    await publish(nats.stream, ImagesPulled(id="lost", day="2999-12-24", count=1))
    not_well, repaired, again = run(), run("--repair"), run()

    assert well.returncode == 0, well.stderr
    assert not_well.returncode == 1
    assert b"2999-12-24" in not_well.stdout + not_well.stderr
    assert (repaired.returncode, again.returncode) == (0, 0)
