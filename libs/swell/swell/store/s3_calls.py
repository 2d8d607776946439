"""Calls of the S3 SDK, which block: `swell.store.s3_objects` runs them in threads."""

import random
import time
from datetime import UTC, datetime, timedelta
from itertools import islice

from swell.errors import Unavailable
from swell.imports import emptied

with emptied("minio.crypto", "decrypt", "encrypt"):  # of MinioAdmin, which nothing here uses: it loads pycryptodome
    from minio import Minio
    from minio.commonconfig import ENABLED, REPLACE, CopySource, Filter
    from minio.error import S3Error
    from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from swell.store.objects import StoredObject

_RULE_TRIES = 5
_ABSENT = frozenset({"NoSuchKey", "NoSuchObject"})
_CREATED = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


def create_bucket(client: Minio, bucket: str) -> None:
    """Create *bucket*; another service may create it at the same moment.

    Raises:
        Unavailable: the bucket is missing, and the keys may not create it.
    """
    try:
        client.make_bucket(bucket)
    except S3Error as error:
        if error.code not in _CREATED:  # by another service, at the same moment
            raise Unavailable(
                f"the object store has no bucket {bucket}, and does not create it: {error.code}"
            ) from error


def read(client: Minio, bucket: str, key: str) -> bytes | None:
    """Return the whole object; None when it is missing."""
    try:
        response = client.get_object(bucket, key)
    except S3Error as error:
        if error.code in _ABSENT:
            return None
        raise
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


def page(client: Minio, bucket: str, prefix: str, after: str, limit: int) -> list[StoredObject]:
    """Return at most *limit* objects below *prefix* with keys above *after*, in the order of their keys."""
    listed = client.list_objects(bucket, prefix=prefix, recursive=True, start_after=after or None)
    return [
        StoredObject(each.object_name or "", each.size or 0, each.last_modified or datetime.now(UTC))
        for each in islice(listed, limit)
        if not each.is_dir
    ]


def renew(client: Minio, bucket: str, key: str, age: timedelta) -> None:
    """Copy an object that is older than *age* onto itself; do nothing when it is missing."""
    try:
        found = client.stat_object(bucket, key)
    except S3Error as error:
        if error.code in _ABSENT:
            return
        raise
    if found.last_modified and datetime.now(UTC) - found.last_modified > age:
        client.copy_object(bucket, key, CopySource(bucket, key), metadata_directive=REPLACE)


def expire(client: Minio, bucket: str, prefix: str, days: int) -> None:
    """Set the rule, and read it again: another service may write its own rules at the same time."""
    mine = f"swell-{prefix.strip('/') or 'all'}"
    rule = Rule(ENABLED, rule_filter=Filter(prefix=prefix), rule_id=mine, expiration=Expiration(days=days))
    for _ in range(_RULE_TRIES):
        rules = _rules(client, bucket)
        if any(each.rule_id == mine and each.expiration and each.expiration.days == days for each in rules):
            return
        others = [each for each in rules if each.rule_id != mine]
        client.set_bucket_lifecycle(bucket, LifecycleConfig([*others, rule]))
        time.sleep(random.uniform(0, 0.1))  # noqa: S311  not a secret; in a thread


def _rules(client: Minio, bucket: str) -> list[Rule]:
    try:
        config = client.get_bucket_lifecycle(bucket)
    except S3Error as error:
        if error.code != "NoSuchLifecycleConfiguration":
            raise
        return []
    return list(config.rules) if config else []
