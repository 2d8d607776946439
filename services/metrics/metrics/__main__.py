"""The metrics service: opens its connections, counts events and serves the counts."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

from nats.js import JetStreamContext

from metrics import backlog
from metrics.adapters.archive import S3Archive
from metrics.adapters.counters import RedisCounters
from metrics.adapters.events import last_uncertain_day, uses
from metrics.count import Counting
from metrics.handlers.counters import CountersHandler
from metrics.roll_up import Archive, RollUp
from metrics.settings import Settings
from swell.concurrency.drain import Drain
from swell.concurrency.periodic import every
from swell.jobs import streams
from swell.jobs.consume import consume
from swell.jobs.messages import BuildDone, ImagesPulled, ScanDone
from swell.log import log
from swell.observe.backend_checks import nats_check, redis_check
from swell.observe.health import Health
from swell.observe.operator_port import operator_port
from swell.observe.otlp import exporting
from swell.rpc.server import answering
from swell.rpc.v1.counters_pb2_grpc import add_CountersServicer_to_server
from swell.serve import address, run_service
from swell.store import s3_objects
from swell.store.backlog import RedisBacklog
from swell.store.connections import redis

RESTORE_INTERVAL = timedelta(minutes=1)
STORE_INTERVAL = timedelta(hours=1)
BACKLOG_INTERVAL = timedelta(seconds=5)


async def main(settings: Settings, drain: Drain) -> None:
    async with AsyncExitStack() as opened:
        operator = await opened.enter_async_context(operator_port("metrics", settings.operator_listen))
        await opened.enter_async_context(exporting("metrics", settings.traces_url))
        state = await opened.enter_async_context(redis.connect(settings.redis, settings.ca_file))
        nats = await opened.enter_async_context(streams.connect(settings.nats, "metrics", settings.ca_file))
        reports = s3_objects.connect(settings.s3, settings.s3.reports_bucket, settings.ca_file)
        archive = S3Archive(await opened.enter_async_context(reports))
        redis_works, nats_works = redis_check(state), nats_check(nats)
        health = Health({"usage": [redis_works], "counting": [redis_works, nats_works]}, drain=drain)
        counters = RedisCounters(state)
        counting = Counting(counters)
        handler = CountersHandler(counting)
        await opened.enter_async_context(
            answering(
                address(settings.listen),
                lambda server: add_CountersServicer_to_server(handler, server),
                settings=settings.rpc,
                health=health,
                drain=drain,
            )
        )
        operator.ready = health.ready
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(consume(nats.stream, "metrics-builds", BuildDone, counting.build_done))
            tasks.create_task(consume(nats.stream, "metrics-scans", ScanDone, counting.scan_done))
            tasks.create_task(consume(nats.stream, "metrics-pulls", ImagesPulled, counting.images_pulled))
            restoring = partial(restore, counters, archive, nats.stream)
            tasks.create_task(every(RESTORE_INTERVAL, restoring, event="usage counters not restored yet"))
            published = partial(backlog.publish, RedisBacklog(state), nats.stream)
            tasks.create_task(every(BACKLOG_INTERVAL, published, event="queues not measured"))
            storing = partial(store, counters, archive, nats.stream)
            tasks.create_task(every(STORE_INTERVAL, storing, event="usage not rolled up yet", first=False))


async def restore(counters: RedisCounters, archive: Archive, stream: JetStreamContext) -> None:
    """Restore the counters from roll-ups and events if Redis has lost its data; store the first roll-ups."""
    if await counters.is_restored():
        return
    for each in await (await roll_up_of(counters, archive, stream)).repair():
        table = each.table
        log.warning("usage restored", metric=table.metric, day=table.day, architecture=table.architecture)
    await store(counters, archive, stream)
    await counters.restored()


async def store(counters: RedisCounters, archive: Archive, stream: JetStreamContext) -> None:
    """Store the roll-ups of all days whose counts have changed."""
    await (await roll_up_of(counters, archive, stream)).store(datetime.now(UTC).date().isoformat())


async def roll_up_of(counters: RedisCounters, archive: Archive, stream: JetStreamContext) -> RollUp:
    return RollUp(counters, archive, lambda: uses(stream), await last_uncertain_day(stream))


if __name__ == "__main__":
    run_service("metrics", Settings, main)
