"""Buckets of permits: one behaviour in memory and in Redis, also for concurrent clients."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from redis.asyncio import Redis

from gateway.access.limits import LimitExceeded, Limits
from gateway.adapters.access.limits import DEADLINE, RedisBuckets
from gateway.domain.quota import Client, Kind, Quota, Quotas, Taken
from swell.errors import Unavailable
from swell.store.connections import redis as redis_store
from swell_embedded.stack import Stack
from tests.unit.gateway.access.buckets import MemoryBuckets

ADA, HERE = Client("ada"), Client("", "203.0.113.9")
DAILY = Quota(10, 86400)
BUCKET_TIMEOUT = 60.0  # seconds; hundreds of calls at once take long on a busy machine


class Buckets(Protocol):
    async def take(self, kind: Kind, client: Client, quota: Quota, wanted: int) -> Taken: ...


@pytest.fixture(params=["memory", "redis"])
def buckets(request: pytest.FixtureRequest) -> Buckets:
    if request.param == "memory":
        return MemoryBuckets(time.monotonic)
    return RedisBuckets(request.getfixturevalue("redis"))


async def test_all_permits_may_be_taken_at_once(buckets: Buckets) -> None:
    """But no more; the refusal says when the next permit is available, and when all are."""
    first = await buckets.take(Kind.BUILD, ADA, DAILY, 10)
    second = await buckets.take(Kind.BUILD, ADA, DAILY, 1)

    assert (first.granted, second.granted) == (10, 0)
    assert 8630 < second.wait <= 8640
    assert 86390 < second.reset <= 86400


async def test_when_there_are_fewer_than_wanted_these_are_given(buckets: Buckets) -> None:
    """A block may be smaller than requested."""
    await buckets.take(Kind.PULL, ADA, DAILY, 7)

    assert (await buckets.take(Kind.PULL, ADA, DAILY, 5)).granted == 3


async def test_each_client_has_a_bucket_for_each_kind(buckets: Buckets) -> None:
    """Also who is named like an address."""
    await buckets.take(Kind.BUILD, ADA, DAILY, 10)
    others = [(Kind.PULL, ADA), (Kind.BUILD, HERE), (Kind.BUILD, Client(HERE.address)), (Kind.BUILD, Client("", "ada"))]

    assert [(await buckets.take(kind, client, DAILY, 10)).granted for kind, client in others] == [10] * 4


async def test_a_permit_is_there_when_it_was_promised(buckets: Buckets) -> None:
    """`Retry-After` is exact."""
    quota = Quota(4, 1)
    refused = None
    while refused is None or refused.granted:
        refused = await buckets.take(Kind.PULL, ADA, quota, 4)
    await asyncio.sleep(refused.wait)

    assert (await buckets.take(Kind.PULL, ADA, quota, 1)).granted == 1


async def test_what_is_given_back_can_be_taken_again(buckets: Buckets) -> None:
    """A returned permit is available at once."""
    await buckets.take(Kind.BUILD, ADA, DAILY, 10)
    back = await buckets.take(Kind.BUILD, ADA, DAILY, -1)

    assert back.granted == -1
    assert (await buckets.take(Kind.BUILD, ADA, DAILY, 2)).granted == 1


async def test_a_bucket_never_holds_more_than_all(buckets: Buckets) -> None:
    """Returning more than was taken gives no extra permits."""
    for _ in range(3):
        await buckets.take(Kind.BUILD, ADA, DAILY, -1)

    assert (await buckets.take(Kind.BUILD, ADA, DAILY, 99)).granted == 10


async def test_a_smaller_quota_holds_at_once(buckets: Buckets) -> None:
    """The operator who lowers it does so for a reason."""
    await buckets.take(Kind.PULL, ADA, Quota(1000, 86400), 500)

    refused = await buckets.take(Kind.PULL, ADA, Quota(2, 3600), 1)

    assert refused.granted == 0
    assert refused.wait > 3600


async def test_tokens_of_another_life_are_counted_apart(redis: Redis) -> None:
    """After the operator shortens the lifetime, no client is refused for the length of the old one."""
    buckets = RedisBuckets(redis)
    await buckets.take(Kind.TOKEN, ADA, Quota(1000, 129600), 1000)

    assert (await buckets.take(Kind.TOKEN, ADA, Quota(1000, 6), 1)).granted == 1


@pytest.fixture
async def another_redis(backends: Stack) -> AsyncIterator[Redis]:
    """The connection of another gateway."""
    async with redis_store.connect(backends.env["SWELL_REDIS_URL"]) as connected:
        yield connected


async def test_many_at_once_get_what_there_is_and_no_more(redis: Redis, another_redis: Redis) -> None:
    """Each request for permits is one atomic step."""
    doors = [RedisBuckets(each, BUCKET_TIMEOUT) for each in (redis, another_redis)]

    taken = await asyncio.gather(*(doors[turn % 2].take(Kind.PULL, ADA, Quota(50, 86400), 1) for turn in range(100)))

    assert sum(each.granted for each in taken) == 50


async def test_gateways_together_keep_one_limit(redis: Redis, another_redis: Redis) -> None:
    """However they hold permits in advance: not a single pull too many, nor more than a block each too few."""
    quotas = Quotas(pull=Quota(200, 86400))
    doors = [Limits(RedisBuckets(each, BUCKET_TIMEOUT), quotas, fail_open=False) for each in (redis, another_redis)]

    async def pull(turn: int) -> bool:
        try:
            await doors[turn % 2].take_pull("ada", HERE.address)
        except LimitExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*(pull(turn) for turn in range(600)))) == 200


async def test_a_full_bucket_takes_no_room(redis: Redis) -> None:
    """One key for each client that took something, until it has all of it again."""
    buckets = RedisBuckets(redis)
    await buckets.take(Kind.BUILD, ADA, DAILY, 1)
    (key,) = await redis.keys()
    assert 8_600_000 < await redis.pttl(key) <= 8_640_000

    await buckets.take(Kind.BUILD, ADA, DAILY, -1)

    assert await redis.keys() == []


async def test_a_redis_that_says_nothing_is_not_waited_for() -> None:
    """A pull would have to wait as well."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Redis(host="127.0.0.1", port=port) as silent:
        buckets = RedisBuckets(silent)
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await buckets.take(Kind.PULL, ADA, DAILY, 1)
        waited = time.monotonic() - started

        await Limits(buckets, Quotas(pull=DAILY), fail_open=True).take_pull("ada", "")
        with pytest.raises(Unavailable):
            await Limits(buckets, Quotas(pull=DAILY), fail_open=False).take_pull("ada", "")

    assert DEADLINE * 0.9 < waited < DEADLINE + 10  # the server would be silent for ever


async def test_a_script_that_redis_has_lost_is_loaded_again(redis: Redis) -> None:
    """As after a restart; what was counted is kept."""
    buckets = RedisBuckets(redis)
    await buckets.take(Kind.BUILD, ADA, DAILY, 9)
    await redis.script_flush()

    assert (await buckets.take(Kind.BUILD, ADA, DAILY, 9)).granted == 1
