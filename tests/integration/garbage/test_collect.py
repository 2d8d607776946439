"""Garbage collection with real backends: what is used stays, what is not goes, and a dry run changes nothing."""

import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from swell.backup.run import Backends, open_backends
from swell.backup.settings import Settings
from swell.errors import BadRequest
from swell.garbage.findings import Report
from swell.garbage.run import IMAGES, OBJECTS, PARTS, RECORDS, collect
from swell.jobs.settings import NatsSettings
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.reference import parse_reference
from swell.registry.push import RegistryPush, fetch_document
from swell.store import keys
from swell.store.builds import RedisBuilds
from swell.store.connections.settings import RedisSettings
from swell_embedded import stack as embedded
from tests.integration.store.test_queue import OK, recipe, submit
from tests.stores import s3_of

AGE, DAY = timedelta(days=7), 86_400.0
OLD, USED, CONTEXT = (f"{digit * 64}" for digit in "abc")


def later(days: float) -> Callable[[], float]:
    """A clock that is *days* ahead."""
    return lambda: time.time() + days * DAY


@pytest.fixture(scope="module")
async def settings(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    """All backends, with a registry that deletes images."""
    home: Path = tmp_path_factory.mktemp("garbage")
    async with embedded.open_backends(home, environment={}) as stack:
        env = stack.env
        yield Settings(
            redis=RedisSettings(url=env["SWELL_REDIS_URL"]),
            nats=NatsSettings(url=env["SWELL_NATS_URL"]),
            s3=s3_of(env),
            push_auth_file=Path(env["SWELL_PUSH_AUTH_FILE"]),
            build_repository=env["SWELL_BUILD_REPOSITORY"],
            allowed_hosts=frozenset(env["SWELL_ALLOWED_HOSTS"].split(",")),
        )


@pytest.fixture
async def backends(settings: Settings) -> AsyncIterator[Backends]:
    async with open_backends(settings) as opened:
        await opened.redis.flushall()
        yield opened


async def found(settings: Settings, *parts: str, days: float, deletes: bool = False) -> Report:
    return await collect(settings, parts, AGE, deletes=deletes, clock=later(days))


async def names(backends: Backends, kind: str) -> set[str]:
    return {each.key for each in await backends.buckets[kind].page("") if not each.key.startswith(".")}


async def test_objects_without_a_record_are_removed_when_they_are_old(settings: Settings, backends: Backends) -> None:
    """Logs belong to builds, reports to scans, blobs to any record that has their digest; others are not touched."""
    redis, buckets = backends.redis, backends.buckets
    build_id, _ = await RedisBuilds(redis).submit(
        msgspec.structs.replace(recipe(1), context=Digest(f"sha256:{CONTEXT}"))
    )
    await redis.hset(keys.image("token"), "large:x", f"sha256:{USED}\napplication/json")
    kept = {f"{build_id}.log", f"{build_id}.provenance.json", "notes.txt"}
    gone = {"bd-00000000000000aa_1.log", "bd-00000000000000aa_1.signature.sigstore.json", "mr-0123456789ab.log"}
    for name in kept | gone:
        await buckets["logs"].put(name, b"12345")
    for digest in (OLD, USED, CONTEXT):
        await buckets["layers"].put(f"sha256/{digest}", b"layer")
    await buckets["reports"].put("scans/sc-00aa_1/report.json", b"{}")
    await buckets["reports"].put("sboms/ab/cd.json", b"{}")

    assert not (await found(settings, OBJECTS, days=6)).counts  # younger than the age
    dry = await found(settings, OBJECTS, days=8)
    assert dry.counts == {"log would be deleted": 3, "report would be deleted": 1, "blob would be deleted": 1}
    assert dry.bytes["log would be deleted"] == 15
    assert await names(backends, "logs") == kept | gone  # a dry run
    done = await found(settings, OBJECTS, days=8, deletes=True)
    assert done.counts == {"log deleted": 3, "report deleted": 1, "blob deleted": 1}
    assert await names(backends, "logs") == kept
    assert await names(backends, "layers") == {f"sha256/{USED}", f"sha256/{CONTEXT}"}
    assert await names(backends, "reports") == {"sboms/ab/cd.json"}


async def test_leftover_records_are_removed(settings: Settings, backends: Backends) -> None:
    """A secret without an entry waits for the age; lists lose what has ended; builds in use stay in the queue."""
    redis = backends.redis
    await redis.set(keys.vault("user:ada"), msgspec.json.encode({"entries": {"quay.io": {}}}))
    await redis.set(keys.encrypted("vault:user:ada:quay.io"), b"used")
    await redis.set(keys.encrypted("vault:user:bob%3Ax:quay.io/acme"), b"leftover")
    await redis.zadd(keys.API_KEYS, {f"{1:020d}:gone": 0, f"{2:020d}:kept": 0})
    await redis.set(keys.api_key("kept"), "{}")
    first, second = await submit(RedisBuilds(redis), 2)
    await redis.delete(keys.build(first, keys.SUBMISSION))

    dry = await found(settings, RECORDS, days=0)
    assert dry.counts == {"secret marked": 1, "key would be deleted": 1, "queued would be deleted": 1}
    assert not await redis.exists(keys.garbage(RECORDS))
    assert (await found(settings, RECORDS, days=0, deletes=True)).counts["secret marked"] == 1
    assert (await found(settings, RECORDS, days=6, deletes=True)).counts["secret marked"] == 1
    assert (await found(settings, RECORDS, days=8, deletes=True)).counts == {"secret deleted": 1}

    assert await redis.exists(keys.encrypted("vault:user:ada:quay.io"))
    assert not await redis.exists(keys.encrypted("vault:user:bob%3Ax:quay.io/acme"))
    assert [member async for member, _ in redis.zscan_iter(keys.API_KEYS)] == [f"{2:020d}:kept".encode()]
    assert await redis.hkeys(keys.QUEUE_CLIENT_OF) == [second.encode()]


async def push(backends: Backends, name: str, text: str) -> Digest:
    """Push an image of one layer with *text*, and return its digest."""
    reference, pushing = parse_reference(name), RegistryPush(backends.registry)
    config = b"{}"
    for content in (config, text.encode()):
        await pushing.blob(reference, digest_of(content), content)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", text.encode())],
    }
    document = Document(str(manifest["mediaType"]), msgspec.json.encode(manifest))
    return await pushing.document(reference, document)


def _descriptor(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


async def test_images_are_removed_after_they_were_unused_for_the_age(settings: Settings, backends: Backends) -> None:
    """Also below the repository. What a build or a token names stays, with all tags of the same manifest."""
    base = settings.build_repository
    assert base
    used, granted, twin, unused, below = (f"{base}:{tag}" for tag in ("used", "granted", "twin", "unused", "x"))
    below = f"{base}/samtools:unused"
    await push(backends, used, "used")
    await push(backends, twin, "used")  # the same manifest
    await push(backends, granted, "granted")
    for name in (unused, below):
        await push(backends, name, name)
    redis = backends.redis
    await redis.set(keys.latest_build(used), "bd-1_1")
    await redis.set(keys.grant("token"), msgspec.json.encode({"image": granted}))
    scanned = f"{base}:scanned"  # a token with a required scan has the digest that was scanned
    await push(backends, scanned, "scanned")
    document = await fetch_document(backends.registry, parse_reference(scanned))
    assert document
    await redis.set(keys.grant("other"), msgspec.json.encode({"image": f"{base}@{document.digest}"}))

    assert (await found(settings, IMAGES, days=0)).counts == {"image marked": 2}
    assert not await redis.exists(keys.garbage(IMAGES))
    assert (await found(settings, IMAGES, days=0, deletes=True)).counts == {"image marked": 2}
    await redis.set(keys.latest_build(below), "bd-2_1")  # it is built again meanwhile
    assert (await found(settings, IMAGES, days=4, deletes=True)).counts == {"image marked": 1}
    await redis.delete(keys.latest_build(below))
    done = await found(settings, IMAGES, days=8, deletes=True)
    assert done.counts == {"image deleted": 1, "image marked": 1}  # the other one is unused since now
    assert done.bytes["image deleted"] > len(unused)

    async def exists(name: str) -> bool:
        return await fetch_document(backends.registry, parse_reference(name)) is not None

    assert [await exists(name) for name in (used, twin, granted, unused, below)] == [True, True, True, False, True]
    assert await exists(scanned)


async def test_a_short_age_is_refused(settings: Settings) -> None:
    """A request stores its layers before its record: a run must not remove them in between."""
    with pytest.raises(BadRequest, match="2 days"):
        await collect(settings, PARTS, timedelta(hours=1), deletes=True)


async def test_the_record_of_a_running_build_protects_all_of_it(settings: Settings, backends: Backends) -> None:
    """From the submission on, before there is an image or a result, and also after its end."""
    builds = RedisBuilds(backends.redis)
    build_id, _ = await builds.submit(recipe(7))
    await builds.release("ada", 1)
    await builds.begin(build_id)
    await backends.buckets["logs"].put(f"{build_id}.log", b"running")
    await found(settings, OBJECTS, RECORDS, days=30, deletes=True)
    assert f"{build_id}.log" in await names(backends, "logs")
    assert await builds.get(build_id)
    await builds.finish(build_id, OK)
    await found(settings, OBJECTS, RECORDS, days=30, deletes=True)
    assert f"{build_id}.log" in await names(backends, "logs")
