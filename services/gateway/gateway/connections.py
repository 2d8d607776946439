"""The connections of the gateway to its backends and to the other services."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from grpc.aio import Channel
from redis.asyncio import Redis

from gateway.settings import Settings
from swell.jobs import streams
from swell.jobs.streams import Nats
from swell.rpc.channel import connect
from swell.store import s3_objects
from swell.store.connections import redis
from swell.store.s3_objects import S3Objects


class Connections(NamedTuple):
    redis: Redis
    nats: Nats
    layers: S3Objects
    logs: S3Objects
    reports: S3Objects
    registry_proxy: Channel
    metrics: Channel
    builder: Channel


@asynccontextmanager
async def open_connections(settings: Settings) -> AsyncIterator[Connections]:
    """Connect to all of them. Redis, NATS and S3 must respond; the other services may start later."""
    s3, ca_file = settings.s3, settings.ca_file
    async with (
        redis.connect(settings.redis, ca_file) as state,
        streams.connect(settings.nats, "gateway", ca_file) as nats,
        s3_objects.connect(s3, s3.layers_bucket, ca_file) as layers,
        s3_objects.connect(s3, s3.logs_bucket, ca_file) as logs,
        s3_objects.connect(s3, s3.reports_bucket, ca_file) as reports,
        connect(settings.registry_proxy, settings.rpc) as registry_proxy,
        connect(settings.metrics, settings.rpc) as metrics,
        connect(settings.builder, settings.rpc) as builder,
    ):
        yield Connections(state, nats, layers, logs, reports, registry_proxy, metrics, builder)
