"""`python -m metrics.recount`: count the events in the stream again, and log differences from the counters in Redis.

It only reads. An event that arrives during the run can cause a difference: run it again.
"""

from contextlib import AsyncExitStack

from nats.js import JetStreamContext

from metrics.adapters.counters import MemoryCounters, RedisCounters
from metrics.adapters.events import has_expired_events, uses
from metrics.count import Counters
from metrics.domain.usage import Table
from metrics.settings import Settings
from swell.errors import SwellError
from swell.jobs import streams
from swell.log import log
from swell.serve import run
from swell.store import redis


class CountsDiffer(SwellError):
    """The counters in Redis differ from the events."""


async def recount(stream: JetStreamContext, counters: Counters) -> list[Table]:
    """Return the tables that differ.

    Tables are compared when the stream has all their events: all tables, or the days after its oldest event when older
    events have expired.
    """
    recounted, first_day, is_complete = MemoryCounters(), "", not await has_expired_events(stream)
    async for use in uses(stream):
        first_day = first_day or use.day
        await recounted.add(use)
    tables = [table for table in recounted.tables if is_complete or (table.day and table.day > first_day)]
    return [table for table in tables if await recounted.of_all(table) != await counters.of_all(table)]


async def main(settings: Settings) -> None:
    async with AsyncExitStack() as opened:
        state = await opened.enter_async_context(redis.connect(settings.redis_url))
        nats = await opened.enter_async_context(streams.connect(settings.nats_url, "recount"))
        differing = await recount(nats.stream, RedisCounters(state))
    for table in differing:
        log.error("counts differ", metric=table.metric, day=table.day, architecture=table.architecture)
    if differing:
        raise CountsDiffer
    log.info("counts are equal")


if __name__ == "__main__":
    run("recount", Settings, main)
