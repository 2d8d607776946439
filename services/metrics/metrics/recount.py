"""`python -m metrics.recount`: count the stored events again, and log differences from the counters in Redis.

`--repair` also corrects them: see `metrics.roll_up`.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

from metrics.adapters.archive import S3Archive
from metrics.adapters.counters import RedisCounters
from metrics.adapters.events import last_uncertain_day, uses
from metrics.roll_up import Difference, RollUp
from metrics.settings import Settings
from swell.errors import SwellError
from swell.jobs import streams
from swell.log import log
from swell.serve import run
from swell.store import s3_objects
from swell.store.connections import redis


class CountsDiffer(SwellError):
    """The counters in Redis differ from the events."""


def parse_arguments(arguments: Sequence[str]) -> bool:
    """Return whether differences are to be repaired; exits with a message when the command line is wrong."""
    parser = argparse.ArgumentParser(prog="python -m metrics.recount", description="Count the stored events again.")
    parser.add_argument("--repair", action="store_true", help="correct the counters that differ")
    return bool(parser.parse_args(arguments).repair)


async def main(settings: Settings) -> None:
    repairs = parse_arguments(sys.argv[1:])
    async with AsyncExitStack() as opened:
        state = await opened.enter_async_context(redis.connect(settings.redis, settings.ca_file))
        nats = await opened.enter_async_context(streams.connect(settings.nats, "recount", settings.ca_file))
        reports = s3_objects.connect(settings.s3, settings.s3.reports_bucket, settings.ca_file)
        archive = S3Archive(await opened.enter_async_context(reports))
        uncertain = await last_uncertain_day(nats.stream)
        roll_up = RollUp(RedisCounters(state), archive, lambda: uses(nats.stream), uncertain)
        if repairs:
            _log(await roll_up.repair(), "counts repaired")
        differences = await roll_up.differences()
    _log(differences, "counts differ")
    if differences:
        raise CountsDiffer
    log.info("counts are equal")


def _log(differences: Sequence[Difference], event: str) -> None:
    for each in differences:
        table = each.table
        log.warning(
            event, metric=table.metric, day=table.day, architecture=table.architecture, missing=dict(each.counts)
        )


if __name__ == "__main__":
    run("recount", Settings, main)
