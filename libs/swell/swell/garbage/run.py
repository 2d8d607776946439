"""The steps of a collection."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from swell.backup.run import Backends, open_backends
from swell.backup.settings import Settings
from swell.errors import BadRequest
from swell.garbage import images, objects, records
from swell.garbage.findings import Finding, Report
from swell.garbage.marks import Marks
from swell.garbage.references import references

OBJECTS, RECORDS, IMAGES = PARTS = ("objects", "records", "images")
MIN_AGE = timedelta(days=2)
"""A request refreshes an object that it uses again when that is older than a day."""


async def collect(
    settings: Settings,
    parts: Sequence[str] = (OBJECTS, RECORDS),
    age: timedelta = timedelta(days=7),
    *,
    deletes: bool = False,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Print, and with *deletes* remove, what was not used for *age*.

    Raises:
        BadRequest: *age* is shorter than 2 days, or images are selected and there is no build repository.
        Unavailable, UpstreamFailed, Denied: a backend does not answer, or refuses to delete.
    """
    if age < MIN_AGE:
        raise BadRequest("the age is at least 2 days (P2D): younger objects may belong to requests that are not stored")
    report = Report(deletes=deletes)
    async with open_backends(settings) as backends:
        async for finding in _findings(settings, backends, parts, age, deletes=deletes, clock=clock):
            report.add(finding)
    report.finish()
    return report


async def _findings(
    settings: Settings,
    backends: Backends,
    parts: Sequence[str],
    age: timedelta,
    *,
    deletes: bool,
    clock: Callable[[], float],
) -> AsyncIterator[Finding]:
    redis = backends.redis
    async with references(redis) as used:
        if OBJECTS in parts:
            async for finding in objects.collect(redis, backends.buckets, used, age, deletes=deletes, clock=clock):
                yield finding
        if RECORDS in parts:
            async for finding in records.collect(
                redis, Marks(redis, RECORDS, age, deletes=deletes, clock=clock), deletes=deletes
            ):
                yield finding
        if IMAGES in parts:
            if not settings.build_repository:
                raise BadRequest("SWELL_BUILD_REPOSITORY is not set: it has the images")
            marks = Marks(redis, IMAGES, age, deletes=deletes, clock=clock)
            found = images.collect(redis, backends.registry, settings.build_repository, used, marks, deletes=deletes)
            async for finding in found:
                yield finding
