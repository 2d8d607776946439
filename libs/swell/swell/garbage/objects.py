"""Objects that no record refers to: files of builds and scans whose records have ended, layers and contexts."""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from swell.backup.objects import LAYERS, LOGS, REPORTS, Buckets
from swell.garbage.findings import Finding
from swell.garbage.references import References
from swell.store import keys
from swell.store.blobs import DOCUMENTS
from swell.store.connections.redis import translated
from swell.store.objects import StoredObject
from swell.store.reports import SCANS

DOCUMENT_AGE = timedelta(days=30)  # tokens end before; the documents of one may be stored again meanwhile
_OF_BUILD = re.compile(r"((?:bd-[0-9a-f]{16}_\d+|mr-[0-9a-f]{12,32}))\.[a-z.-]+")
_OF_SCAN = re.compile(rf"{SCANS}(sc-[0-9a-f]+_\d+)[./].*")
_BLOB = re.compile(rf"(?:{DOCUMENTS})?sha256/([0-9a-f]{{64}})")


async def old(buckets: Buckets, kind: str, prefix: str, until: datetime) -> AsyncIterator[list[StoredObject]]:
    """Yield the objects below *prefix* that were stored before *until*, at most 1,000 at a time."""
    after = ""
    while page := await buckets[kind].page(prefix, after):
        after = page[-1].key
        yield [each for each in page if each.modified < until]


async def collect(
    redis: Redis,
    buckets: Buckets,
    used: References,
    age: timedelta,
    *,
    deletes: bool,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Finding]:
    """Yield, and with *deletes* remove, objects that are older than *age* and that no record refers to.

    Raises:
        Unavailable: a backend does not answer.
    """
    now = datetime.fromtimestamp(clock(), UTC)
    async for page in old(buckets, LOGS, "", now - age):
        async for each in _without_record(redis, page, _OF_BUILD, keys.BUILD):
            yield await _removed(buckets, LOGS, each, "log", deletes=deletes)
    async for page in old(buckets, REPORTS, SCANS, now - age):
        async for each in _without_record(redis, page, _OF_SCAN, keys.SCAN):
            yield await _removed(buckets, REPORTS, each, "report", deletes=deletes)
    for prefix, least in (("sha256/", age), (DOCUMENTS, max(age, DOCUMENT_AGE))):
        async for page in old(buckets, LAYERS, prefix, now - least):
            for each in _unused(page, used):
                yield await _removed(buckets, LAYERS, each, "blob", deletes=deletes)


async def _without_record(
    redis: Redis, page: Iterable[StoredObject], pattern: re.Pattern[str], prefix: str
) -> AsyncIterator[StoredObject]:
    """Yield the objects whose keys begin with the id of a build or scan that has no record."""
    named = [(each, match[1]) for each in page if (match := pattern.fullmatch(each.key))]
    with translated():
        async with redis.pipeline(transaction=False) as pipe:
            for _, record_id in named:
                pipe.exists(f"{prefix}:{record_id}:{keys.SUBMISSION}")
            exists = await pipe.execute()
    for (each, _), has_record in zip(named, exists, strict=True):
        if not has_record:
            yield each


def _unused(page: Iterable[StoredObject], used: References) -> Iterable[StoredObject]:
    for each in page:
        if (match := _BLOB.fullmatch(each.key)) and not used.has_digest(match[1]):
            yield each


async def _removed(buckets: Buckets, kind: str, each: StoredObject, name: str, *, deletes: bool) -> Finding:
    if deletes:
        await buckets[kind].delete(each.key)
    return Finding(name, each.key, each.size)
