"""Records of Wave, from a dump of its database, are known after an import: builds, mirrors, scans and requests."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.adapters.access.grants import RedisGrants
from gateway.wave_import.load import Settings, load
from swell.errors import BadRequest
from swell.store import keys
from swell.store.builds import RedisBuilds
from swell.store.connections.settings import RedisSettings
from swell.store.scans import RedisScans, ScanResult
from swell_embedded.stack import Stack
from tests.integration.store.test_queue import recipe

DUMP = Path("tests/fixtures/wave/dump.sql")
IMAGE = "registry.example.com/team/builds:c44968632f89dd6c"


@pytest.fixture
def settings(backends: Stack, redis: Redis) -> Settings:
    return Settings(redis=RedisSettings(url=backends.env["SWELL_REDIS_URL"]))


async def test_old_names_and_ids_stay_known(
    redis: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """A build by its id and by its image, with file, times and digest; rows that cannot be read are counted."""
    await load(settings, DUMP)
    output = capsys.readouterr().out
    counts = [line for line in output.splitlines() if line.startswith("wave_")]
    assert counts == [
        "wave_build imported: 4",
        "wave_build unreadable: 3",
        "wave_mirror imported: 1",
        "wave_request imported: 1",
        "wave_scan imported: 1",
    ]
    assert "not-an-id" in output  # the operator can look it up

    builds = RedisBuilds(redis)
    latest = await builds.latest(IMAGE)
    assert latest and latest.result and latest.id == "bd-c44968632f89dd6c_2"
    assert latest.submission.containerfile == "FROM alpine:3.20\nRUN apk add jq && printf 'a\\tb'\n"
    assert latest.submission.created == datetime(2026, 3, 1, 9, 32, 10, 500_000, UTC)
    assert latest.result.duration == timedelta(seconds=41.25)
    assert (latest.result.succeeded, latest.result.digest) == (True, f"sha256:{'5e' * 32}")
    page = await builds.page("c44968632f89dd6c", before=None, limit=10)
    assert [(each.id[-1], each.result and each.result.succeeded) for each in page] == [("2", True), ("1", False)]
    conda = await builds.get("bd-0a1b2c3d4e5f6071_1")
    assert conda and conda.result and conda.submission.environment and conda.submission.template
    assert conda.result.duration == timedelta(seconds=123.5)
    assert conda.submission.created.timestamp() == 1772357530.5
    sif = await builds.get("bd-0a1b2c3d4e5f6072_1")  # Wave's first ids had no prefix
    assert sif and sif.submission.sif

    mirror = await builds.get("mr-d0c4a7715be2")
    assert mirror and mirror.submission.mirror[0].source == "quay.io/acme/tool:2.1"
    scan = await RedisScans(redis).get("sc-d700b75853d8096c_1")
    assert scan and isinstance(scan.result, ScanResult)
    assert scan.result.counts == {"HIGH": 1, "UNKNOWN": 1}
    assert [finding.url for finding in scan.result.findings] == ["https://cve.example/1", ""]
    record = await RedisGrants(redis).record("3f9c0a71d2be")
    assert record and record.wave_digest == f"sha256:{'44' * 32}" and record.zone_id == "+01:00"


async def test_nothing_personal_is_imported(redis: Redis, settings: Settings) -> None:
    """Everyone with an id can read a record: names, addresses and layers stay in the dump."""
    await load(settings, DUMP)
    stored = [await redis.dump(name) or b"" for name in await redis.keys("*")]
    for secret in (b"lab.example", b"203.0.113.9", b"userName", b"data:AAAA", b"/srv/wave"):
        assert not [value for value in stored if secret in value]


async def test_the_next_build_has_the_next_number(redis: Redis, settings: Settings) -> None:
    """It must not overwrite a build of Wave."""
    await load(settings, DUMP)
    build_id, _ = await RedisBuilds(redis).submit(recipe(0xC44968632F89DD6C), instead_of=None)
    assert build_id == "bd-c44968632f89dd6c_3"


async def test_an_import_changes_nothing_that_is_known(
    redis: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """It can be repeated, also after builds of this server; a dry run writes nothing."""
    await load(settings, DUMP, dry_run=True)
    assert not await redis.keys("swell:build*")
    await redis.set(keys.request("3f9c0a71d2be"), "{}")
    await load(settings, DUMP)
    await load(settings, DUMP)
    assert await redis.get(keys.request("3f9c0a71d2be")) == b"{}"
    assert "wave_build known already: 4" in capsys.readouterr().out


async def test_records_live_as_long_as_new_ones(redis: Redis, settings: Settings) -> None:
    """From the import on: those of Wave are old already."""
    await load(settings, DUMP)
    for name in await redis.keys("swell:build:*"):
        assert await redis.ttl(name) > timedelta(days=89).total_seconds()


async def test_compressed_dumps_are_read_and_others_refused(redis: Redis, settings: Settings, tmp_path: Path) -> None:
    """A file without the tables is a mistake of the operator."""
    compressed = tmp_path / "dump.sql.gz"
    compressed.write_bytes(gzip.compress(DUMP.read_bytes()))
    await load(settings, compressed)
    assert await redis.exists(keys.latest_build(IMAGE))
    (tmp_path / "other.sql").write_text("SELECT 1;\n")
    for name in ("other.sql", "missing.sql"):
        with pytest.raises(BadRequest):
            await load(settings, tmp_path / name)
