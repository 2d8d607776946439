"""`python -m metrics.recount`: count again what the event stream still holds, and tell where Redis says otherwise.

It reads only. An event that comes meanwhile may look like a difference: run it again.
"""

from contextlib import AsyncExitStack

from nats.js import JetStreamContext

from metrics.adapters.counters import MemoryCounters, RedisCounters
from metrics.adapters.events import has_forgotten, uses
from metrics.count import Counters
from metrics.domain.usage import Table
from metrics.settings import Settings
from swell.errors import SwellError
from swell.jobs import streams
from swell.log import log
from swell.serve import run
from swell.store import redis


class CountsDiffer(SwellError):
    """The counters are not what the events say."""


async def recount(stream: JetStreamContext, counters: Counters) -> list[Table]:
    """The tables that differ, of those whose every event is still in the stream: all, or when it has forgotten some by
    age, those of the days after that of its oldest event."""
    again, begun, whole = MemoryCounters(), "", not await has_forgotten(stream)
    async for use in uses(stream):
        begun = begun or use.day
        await again.add(use)
    tables = [table for table in again.tables if whole or (table.day and table.day > begun)]
    return [table for table in tables if await again.of_all(table) != await counters.of_all(table)]


async def main(settings: Settings) -> None:
    async with AsyncExitStack() as opened:
        state = await opened.enter_async_context(redis.connect(settings.redis_url))
        nats = await opened.enter_async_context(streams.connect(settings.nats_url, "recount"))
        differing = await recount(nats.stream, RedisCounters(state))
    for table in differing:
        log.error("counted otherwise", metric=table.metric, day=table.day, architecture=table.architecture)
    if differing:
        raise CountsDiffer
    log.info("counted the same")


if __name__ == "__main__":
    run("recount", Settings, main)
