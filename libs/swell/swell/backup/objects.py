"""The objects of the three buckets, except blobs that can be fetched from their registries again."""

from collections.abc import AsyncIterator, Mapping
from functools import partial

from msgspec import Struct

from swell.backup.folder import BackupFolder, RecordWriter
from swell.concurrency.at_once import at_once
from swell.errors import NotFound
from swell.oci.digest import Digest
from swell.store.blobs import CACHED
from swell.store.s3_objects import S3Objects

AT_ONCE = 4
LOGS, LAYERS, REPORTS = "logs", "layers", "reports"
Buckets = Mapping[str, S3Objects]
"""The three buckets, by what is in them; their names may differ between the servers of a backup and of a restore."""


class ObjectRecord(Struct, frozen=True, kw_only=True):
    """An object of the bucket for *bucket*, and the digest and size of its content."""

    bucket: str
    key: str
    digest: Digest
    size: int


async def dump(buckets: Buckets, folder: BackupFolder, writer: RecordWriter) -> None:
    """Write all objects, by key; those that are removed meanwhile are left out."""
    for bucket, objects in buckets.items():
        async for keys in pages(objects):
            kept = [key for key in keys if is_kept(bucket, key)]
            for record in await at_once(AT_ONCE, (partial(_dump_one, bucket, objects, key, folder) for key in kept)):
                if record:
                    writer.write(record)


def is_kept(bucket: str, key: str) -> bool:
    """Whether a backup has the object *key*: not a cached blob, nor a mark of the object store's own (`.ready`)."""
    return not key.startswith(".") and not (bucket == LAYERS and key.startswith(CACHED))


async def _dump_one(bucket: str, objects: S3Objects, key: str, folder: BackupFolder) -> ObjectRecord | None:
    try:
        async with objects.open(key) as pieces:
            digest, size = await folder.add(pieces)
    except NotFound:
        return None
    return ObjectRecord(bucket=bucket, key=key, digest=digest, size=size)


async def pages(objects: S3Objects, prefix: str = "") -> AsyncIterator[list[str]]:
    """Yield the keys of *objects* below *prefix*, at most 1,000 at a time."""
    after = ""
    while page := await objects.page(prefix, after):
        after = page[-1].key
        yield [each.key for each in page]


async def not_empty(buckets: Buckets) -> list[str]:
    """Return which buckets have objects that a backup would have."""
    return [bucket for bucket, objects in buckets.items() if await _has_any(bucket, objects)]


async def _has_any(bucket: str, objects: S3Objects) -> bool:
    async for keys in pages(objects):
        if any(is_kept(bucket, key) for key in keys):
            return True
    return False


async def load(buckets: Buckets, folder: BackupFolder, record: ObjectRecord) -> None:
    """Store the object of *record*."""
    await buckets[record.bucket].put_file(record.key, folder.require(record.digest, record.size))
