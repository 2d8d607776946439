"""The scans: one suite for the store in memory and the one in Redis."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from swell.errors import TooManyRequests
from swell.oci.digest import digest_of
from swell.store import keys
from swell.store.scans import (
    AffectedScan,
    DatabaseInfo,
    RedisScans,
    Scan,
    ScanProblem,
    ScanResult,
    Scans,
    ScanSubmission,
)
from swell.store.scans.memory import MemoryScans
from swell.store.scans.protocol import AFFECTED_LIMIT
from swell.store.scans.records import build_key, image_key

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DIGEST = digest_of(b"image")
IMAGE = ScanSubmission(
    key=image_key("quay.io/acme/tool", DIGEST, ("linux/amd64",)),
    image="quay.io/acme/tool:2.1",
    created=NOON,
    platforms=("linux/amd64",),
    digest=DIGEST,
)
BUILD = ScanSubmission(key=build_key("bd-1_1"), image="registry/builds:1", created=NOON, build_id="bd-1_1")
GOOD = ScanResult(started=NOON, finished=NOON, packages=3, database=DatabaseInfo(built=NOON), counts={"HIGH": 1})
FAILED = ScanResult(started=NOON, finished=NOON, problem=ScanProblem.DATABASE_OLD, message="Not scanned.")
HASH = "d700b75853d8096c"
CLIENT, WAITING = "user ada", 3


@pytest.fixture(params=["memory", "redis"])
def scans(request: pytest.FixtureRequest, redis: Redis) -> Scans:
    return MemoryScans(WAITING) if request.param == "memory" else RedisScans(redis, waiting_limit=WAITING)


async def new_scan(scans: Scans, submission: ScanSubmission = IMAGE, client: str = CLIENT) -> Scan:
    scan = await scans.get((await scans.request(HASH, submission, client))[0])
    assert scan
    return scan


async def test_requests_for_one_image_share_a_scan(scans: Scans) -> None:
    """Only one caller gets a new one, and publishes its job."""
    answers = await asyncio.gather(*(scans.request(HASH, IMAGE, CLIENT) for _ in range(50)))

    assert {scan_id for scan_id, _ in answers} == {f"sc-{HASH}_1"}
    assert sum(is_new for _, is_new in answers) == 1
    scan = await scans.latest(IMAGE.key)
    assert scan and (scan.id, scan.submission, scan.result) == (f"sc-{HASH}_1", IMAGE, None)


async def test_a_failed_scan_is_made_again(scans: Scans) -> None:
    """The next request gets a new id; the record of the failed scan stays."""
    failed = await new_scan(scans)
    await scans.finish(failed, FAILED)

    assert await scans.latest(IMAGE.key) is None
    assert (await new_scan(scans)).id == f"sc-{HASH}_2"
    stored = await scans.get(failed.id)
    assert stored and stored.result == FAILED


async def test_a_client_has_few_scans_that_have_not_ended(scans: Scans) -> None:
    """All clients share one queue; a scan that exists is shared, other clients may start theirs, and an end counts."""
    started = [await new_scan(scans, replace(IMAGE, key=f"image {number}")) for number in range(WAITING)]
    for _ in range(2):
        with pytest.raises(TooManyRequests, match=f"{WAITING} scans of yours"):
            await scans.request(HASH, IMAGE, CLIENT)

    assert await scans.request(HASH, started[0].submission, CLIENT) == (started[0].id, False)
    await new_scan(scans, BUILD, "user grace")
    await scans.finish(started[1], FAILED)
    await new_scan(scans)
    with pytest.raises(TooManyRequests):
        await scans.request(HASH, replace(IMAGE, key="one more"), CLIENT)


async def test_a_scan_that_succeeded_is_shared(scans: Scans) -> None:
    """Its result is current: it is matched again when the database changes."""
    scan = await new_scan(scans)
    await scans.finish(scan, GOOD)

    assert await scans.request(HASH, IMAGE, CLIENT) == (scan.id, False)


async def test_a_scan_ends_once(scans: Scans) -> None:
    """The job may be delivered twice; the first result counts, also for the list of unfinished scans."""
    scan = await new_scan(scans)
    assert await scans.unfinished(timedelta(0)) == [scan.id]

    assert await scans.finish(scan, GOOD) == GOOD
    assert await scans.finish(scan, FAILED) == GOOD
    assert await scans.unfinished(timedelta(0)) == []


async def test_a_young_scan_is_not_lost(scans: Scans) -> None:
    """Its job may be about to be published."""
    await new_scan(scans)

    assert await scans.unfinished(timedelta(minutes=1)) == []


async def test_scans_wait_for_their_build(scans: Scans) -> None:
    """The end of the build names them; a scan of an image with a digest waits for nothing."""
    waiting = await new_scan(scans, BUILD)
    await new_scan(scans, replace(IMAGE, build_id="bd-1_1"))

    assert await scans.of_build("bd-1_1") == [waiting.id]
    assert await scans.of_build("bd-2_1") == []


async def test_the_scan_of_a_build_is_that_of_its_image(scans: Scans) -> None:
    """A request for the built image, once its digest is known, is no second scan."""
    waiting = await new_scan(scans, BUILD)
    await scans.name(waiting.id, IMAGE.key)

    assert await scans.request(HASH, IMAGE, CLIENT) == (waiting.id, False)


async def test_an_image_that_has_a_scan_keeps_it(scans: Scans) -> None:
    """The older scan is the one that other requests already have."""
    first, waiting = await new_scan(scans), await new_scan(scans, BUILD)
    await scans.name(waiting.id, IMAGE.key)

    assert (await new_scan(scans)).id == first.id


async def test_a_newer_database_names_the_scans_to_match_again(scans: Scans) -> None:
    """Those of the current database, and failed ones, are not among them."""
    scan, failed = await new_scan(scans), await new_scan(scans, BUILD)
    await scans.finish(scan, GOOD)
    await scans.finish(failed, FAILED)
    assert await scans.matched_before(NOON) == []
    assert await scans.matched_before(NOON + timedelta(days=1)) == [scan.id]

    newer = replace(GOOD, database=DatabaseInfo(built=NOON + timedelta(days=1)), counts={"HIGH": 2})
    await scans.replace(scan, newer)

    assert await scans.matched_before(NOON + timedelta(days=1)) == []
    stored = await scans.get(scan.id)
    assert stored and stored.result == newer


async def test_an_expired_scan_is_not_replaced(scans: Scans, redis: Redis) -> None:
    """A record that came back would never expire."""
    await scans.replace(Scan(id="sc-gone_1", submission=IMAGE), GOOD)

    assert await scans.get("sc-gone_1") is None
    assert await scans.matched_before(NOON + timedelta(days=1)) == []


async def test_a_scan_that_was_given_up_runs_again(scans: Scans) -> None:
    """The operator replays its job."""
    scan = await new_scan(scans)
    await scans.finish(scan, FAILED)
    await scans.reopen(scan.id)

    assert await scans.unfinished(timedelta(0)) == [scan.id]
    assert await scans.finish(scan, GOOD) == GOOD


async def test_affected_images_are_listed_newest_first(scans: Scans) -> None:
    """The list has an end."""
    for number in range(AFFECTED_LIMIT + 1):
        await scans.add_affected(AffectedScan(scan_id=f"sc-{number}", image="x", when=NOON))

    affected = await scans.affected()
    assert (len(affected), affected[0].scan_id) == (AFFECTED_LIMIT, f"sc-{AFFECTED_LIMIT}")


async def test_numbers_are_removed_after_their_records(redis: Redis) -> None:
    """Otherwise the hash would grow with every image that was ever scanned."""
    scans = RedisScans(redis)
    for number in range(40):
        scan_id, _ = await scans.request(f"{number:016x}", replace(IMAGE, key=f"image {number}"), f"client {number}")
        if number:
            await redis.delete(keys.scan(scan_id, keys.SUBMISSION))

    assert await redis.hlen(keys.SCAN_COUNTERS) <= 25
    assert await scans.newest(f"{0:016x}") == 1
