"""The metrics service as a whole: events in over NATS, numbers out over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import grpc
import msgspec
import pytest
from redis.asyncio import Redis

from metrics.__main__ import main
from metrics.settings import Settings
from swell.errors import BadRequest
from swell.jobs.messages import BuildDone, ImagesPulled
from swell.jobs.publish import publish
from swell.jobs.streams import Nats
from swell.rpc.channel import call, connect
from swell.rpc.v1 import counters_pb2 as pb
from swell.rpc.v1.counters_pb2_grpc import CountersStub
from swell_embedded.ports import Ports
from swell_embedded.stack import Stack

MONDAY = "2026-11-23"
BUILD = BuildDone(
    id="bd-1_1",
    target_image="r/i:t",
    platform="linux/amd64",
    succeeded=True,
    finished=datetime(2026, 11, 23, 12, tzinfo=UTC),
)


@asynccontextmanager
async def running(backends: Stack) -> AsyncIterator[grpc.aio.Channel]:
    """The service beside the test, and a channel to it."""
    listen = f"127.0.0.1:{Ports.free().metrics}"
    told = Settings(redis_url=backends.env["SWELL_REDIS_URL"], nats_url=backends.env["SWELL_NATS_URL"], listen=listen)
    task = asyncio.create_task(main(told))
    try:
        async with connect(listen) as channel:
            yield channel
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def service(backends: Stack, redis: Redis, nats: Nats) -> AsyncIterator[grpc.aio.Channel]:
    """A service that has counted nothing yet."""
    async with running(backends) as channel:
        yield channel


async def count(service: grpc.aio.Channel, metric: str, day: str = "") -> int:
    question = pb.GetCountRequest(metric=metric, day=day)
    return (await call("metrics service", CountersStub(service).GetCount, question, seconds=10)).count


async def counted(service: grpc.aio.Channel, metric: str, wanted: int) -> None:
    """Wait until *metric* is *wanted*."""
    async with asyncio.timeout(10):
        while await count(service, metric) < wanted:  # noqa: ASYNC110  there is nothing else to wait for
            await asyncio.sleep(0.02)


async def test_what_was_said_is_counted(service: grpc.aio.Channel, nats: Nats) -> None:
    await publish(nats.stream, BUILD)
    await publish(nats.stream, ImagesPulled(id="a", day=MONDAY, count=40))
    await publish(nats.stream, ImagesPulled(id="b", day="2026-11-24", count=2))
    await counted(service, "builds", 1)
    await counted(service, "pulls", 42)

    assert await count(service, "pulls", MONDAY) == 40
    assert await count(service, "builds", MONDAY) == 1


async def test_what_was_said_while_nobody_listened_is_counted(backends: Stack, redis: Redis, nats: Nats) -> None:
    """The stream keeps it until the service is there."""
    await publish(nats.stream, ImagesPulled(id="a", day=MONDAY, count=3))

    async with running(backends) as service:
        await counted(service, "pulls", 3)


async def test_an_event_said_again_counts_once(service: grpc.aio.Channel, nats: Nats) -> None:
    """Past the queue's own memory of ids as well: the message has another id there, the event the same."""
    again = {"Nats-Msg-Id": "another"}
    await publish(nats.stream, BUILD)
    await nats.stream.publish(BUILD.subject, msgspec.json.encode(BUILD), headers=again)
    await publish(nats.stream, msgspec.structs.replace(BUILD, id="bd-2_1"))
    await counted(service, "builds", 2)

    assert await count(service, "builds") == 2


async def test_a_metric_that_there_is_not_is_a_bad_request(service: grpc.aio.Channel) -> None:
    with pytest.raises(BadRequest, match="there is no metric 'tea'; there are builds, pulls"):
        await count(service, "tea")
