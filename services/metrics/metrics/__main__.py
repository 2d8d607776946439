"""The metrics service: opens its connections, counts events and serves the counts."""

import asyncio
from contextlib import AsyncExitStack

from metrics.adapters.counters import RedisCounters
from metrics.count import Counting
from metrics.handlers.counters import CountersHandler
from metrics.settings import Settings
from swell.jobs import streams
from swell.jobs.consume import consume
from swell.jobs.messages import BuildDone, ImagesPulled, ScanDone
from swell.rpc.server import answering
from swell.rpc.v1.counters_pb2_grpc import add_CountersServicer_to_server
from swell.serve import address, run
from swell.store import redis


async def main(settings: Settings) -> None:
    async with AsyncExitStack() as opened:
        state = await opened.enter_async_context(redis.connect(settings.redis_url))
        nats = await opened.enter_async_context(streams.connect(settings.nats_url, "metrics"))
        counting = Counting(RedisCounters(state))
        handler = CountersHandler(counting)
        await opened.enter_async_context(
            answering(
                address(settings.listen),
                lambda server: add_CountersServicer_to_server(handler, server),
                token=settings.rpc_token,
            )
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(consume(nats.stream, "metrics-builds", BuildDone, counting.build_done))
            tasks.create_task(consume(nats.stream, "metrics-scans", ScanDone, counting.scan_done))
            tasks.create_task(consume(nats.stream, "metrics-pulls", ImagesPulled, counting.images_pulled))


if __name__ == "__main__":
    run("metrics", Settings, main)
