"""What the operator sees of the queues, with a real Redis and NATS."""

import time
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from swell.jobs.consumers import ConsumerLag, sizes
from swell.jobs.messages import BuildDone
from swell.jobs.publish import publish
from swell.jobs.streams import EVENTS, Nats
from swell.store import keys
from swell.store.backlog import RedisBacklog
from swell.store.builds import RedisBuilds
from tests.integration.store.test_queue import OK, submit


async def test_an_idle_server_has_no_backlog(redis: Redis) -> None:
    """All numbers are 0, also the ages."""
    backlog = await RedisBacklog(redis).read()
    assert not any(getattr(backlog, name) for name in backlog.__struct_fields__)


async def test_builds_are_counted_by_state(redis: Redis) -> None:
    """Builds wait in the queues of several clients, are released, are started, and end."""
    builds = RedisBuilds(redis)
    ada, _ = await submit(builds, 5), await submit(builds, 2, "bob")
    await builds.release("ada", 3)
    await builds.published(ada[0])
    await builds.begin(ada[0])
    await builds.finish(ada[1], OK)

    backlog = await RedisBacklog(redis).read()

    assert (backlog.waiting, backlog.ready, backlog.running, backlog.unpublished) == (4, 1, 1, 2)


async def test_ages_are_those_of_the_oldest(redis: Redis) -> None:
    """A build waits since its request in the queue of its client, and since its release in that of builders."""
    builds = RedisBuilds(redis)
    first, *_ = await submit(builds, 3)
    await builds.release("ada", 1)
    await redis.zadd(keys.UNFINISHED, {first: time.time() - 100})
    await redis.zadd(keys.SCANS_UNFINISHED, {"sc-1_1": time.time() - 200, "sc-2_1": time.time()})

    backlog = await RedisBacklog(redis).read()

    since_request = (datetime.now(UTC) - datetime(2026, 11, 23, 12, tzinfo=UTC)) / timedelta(seconds=1)
    assert abs(backlog.oldest_waiting - since_request) < 60
    assert 100 <= backlog.oldest_ready < 160
    assert backlog.scans == 2 and 200 <= backlog.oldest_scan < 260


async def test_streams_and_consumers_are_measured(nats: Nats) -> None:
    """An event that no replica of a consumer has received is pending."""
    done = BuildDone(
        id="bd-1_1",
        target_image="r/i:t",
        platform="linux/amd64",
        succeeded=True,
        finished=datetime(2026, 11, 23, 12, tzinfo=UTC),
    )
    await nats.stream.pull_subscribe(BuildDone.subject, "reader")
    await publish(nats.stream, done)

    streams, consumers = await sizes(nats.stream)

    assert next(each for each in streams if each.stream == EVENTS).messages == 1
    assert ConsumerLag("reader", 1, 0) in consumers
