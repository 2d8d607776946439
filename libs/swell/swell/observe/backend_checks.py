"""Checks of backends and of other services, for `swell.observe.health`; each error names what does not answer."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.jobs.streams import EVENTS, JOBS, Nats, created
from swell.observe.health import SECONDS, Check
from swell.rpc.health import READINESS
from swell.store.connections.redis import translated
from swell.store.s3_objects import S3Objects

_PROBE = "health"
"""A key that no object has: its absence is an answer."""


def redis_check(redis: Redis) -> Check:
    """Check that Redis answers."""

    async def ping() -> None:
        with translated():
            await redis.ping()

    return Check("the state store", ping)


def nats_check(nats: Nats) -> Check:
    """Check that NATS has the streams of jobs and events; missing ones are created."""

    async def look() -> None:
        if not nats.client.is_connected:
            raise Unavailable("the message queue does not answer")
        for stream in (JOBS, EVENTS):
            await created(nats.stream, stream)

    return Check("the message queue", look)


def s3_check(objects: S3Objects) -> Check:
    """Check that the object store answers for a bucket."""

    async def look() -> None:
        await objects.size(_PROBE)

    return Check("the object store", look)


def service_check(name: str, channel: grpc.aio.Channel) -> Check:
    """Check that a replica of the service *name* is ready."""
    ask = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in its stubs

    async def look() -> None:
        try:
            answer = await ask(health_pb2.HealthCheckRequest(service=READINESS), timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"the {name} does not answer") from error
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable(f"the {name} is not ready")

    return Check(f"the {name}", look)
