"""The metrics service as a whole: events in over NATS, numbers out over gRPC."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import grpc
import msgspec
import pytest
from redis.asyncio import Redis

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
    """The service as a process of its own, and a channel to it; at SIGTERM, it stops with exit code 0."""
    listen = f"127.0.0.1:{Ports.free().metrics}"
    environment = os.environ | backends.env | {"SWELL_LISTEN": listen}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "metrics", env=environment)
    try:
        async with connect(listen) as channel:
            yield channel
    finally:
        process.terminate()
        status = await asyncio.wait_for(process.wait(), 60)
    assert status == 0


@pytest.fixture
async def service(backends: Stack, redis: Redis, nats: Nats) -> AsyncIterator[grpc.aio.Channel]:
    """A service that has counted nothing yet."""
    async with running(backends) as channel:
        yield channel


async def ask(service: grpc.aio.Channel, metric: str, **question: str) -> pb.GetCountResponse:
    stub = CountersStub(service)
    return await call("metrics service", stub.GetCount, pb.GetCountRequest(metric=metric, **question), seconds=60)


async def count(service: grpc.aio.Channel, metric: str, day: str = "") -> int:
    return (await ask(service, metric, day=day)).count


async def counted(service: grpc.aio.Channel, metric: str, wanted: int) -> None:
    """Wait until *metric* is *wanted*."""
    async with asyncio.timeout(60):
        while await count(service, metric) < wanted:  # noqa: ASYNC110  there is nothing else to wait for
            await asyncio.sleep(0.02)


async def test_published_events_are_counted(service: grpc.aio.Channel, nats: Nats) -> None:
    """Over NATS, Redis and gRPC, as in production."""
    await publish(nats.stream, BUILD)
    await publish(nats.stream, ImagesPulled(id="a", day=MONDAY, count=40))
    await publish(nats.stream, ImagesPulled(id="b", day="2026-11-24", count=2))
    await counted(service, "builds", 1)
    await counted(service, "pulls", 42)

    assert await count(service, "pulls", MONDAY) == 40
    assert await count(service, "builds", MONDAY) == 1


async def test_a_question_is_as_narrow_as_one_likes(service: grpc.aio.Channel, nats: Nats) -> None:
    """By day, organisation and architecture, each for itself and together."""
    for number, (organisation, architecture, fusion) in enumerate(
        [("acme.org", "amd64", True), ("acme.org", "arm64", False), ("lab.edu", "arm64", False), ("", "amd64", True)]
    ):
        event = ImagesPulled(
            id=str(number),
            day=MONDAY,
            count=10**number,
            organisation=organisation,
            architecture=architecture,
            fusion=fusion,
        )
        await publish(nats.stream, event)
    await counted(service, "pulls", 1111)

    everything = await ask(service, "pulls", day=MONDAY)
    arm = await ask(service, "pulls", architecture="arm64")
    ours = await ask(service, "pulls", architecture="arm64", day=MONDAY, organisation="acme.org")
    unknown = await ask(service, "pulls", organisation="none.io")
    assert (everything.count, dict(everything.organisations)) == (1111, {"acme.org": 11, "lab.edu": 100})
    assert (arm.count, dict(arm.organisations)) == (110, {"acme.org": 10, "lab.edu": 100})
    assert (ours.count, dict(ours.organisations)) == (10, {"acme.org": 10})
    assert (unknown.count, dict(unknown.organisations)) == (0, {"none.io": 0})
    assert await count(service, "fusion") == 1001


async def test_events_from_before_the_start_are_counted(backends: Stack, redis: Redis, nats: Nats) -> None:
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


async def test_an_unknown_metric_is_a_bad_request(service: grpc.aio.Channel) -> None:
    """The message lists the metrics."""
    with pytest.raises(BadRequest, match="unknown metric 'tea'; the metrics are builds, pulls, fusion, mirrors, scans"):
        await count(service, "tea")
