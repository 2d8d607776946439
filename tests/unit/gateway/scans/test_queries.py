"""Scans are read by their ids."""

import pytest

from gateway.scans.queries import ScanQueries, record_of
from swell.errors import NotFound
from swell.store.reports import SbomFormat, log_key, report_key, sbom_key
from swell.store.scans import (
    Scan,
    ScanSubmission,
)
from swell.store.scans.memory import MemoryScans
from tests.unit.gateway.doubles import (
    NOON,
)
from tests.unit.gateway.scans.examples import GOOD, OLD, Reports, stored_scan


async def test_the_record_is_waves_and_says_more(scans: MemoryScans) -> None:
    """E16."""
    scan_id = await stored_scan(scans, GOOD)
    record = await ScanQueries(scans, Reports()).record(scan_id)

    assert (record.id, record.build_id, record.status) == ("sc-d700b75853d8096c_1", "bd-1_1", "SUCCEEDED")
    assert (record.container_image, record.platform) == ("quay.io/acme/tool:2.1", "linux/amd64")
    assert (record.duration, record.exit_code, record.logs) == (63.0, 0, None)
    (found,) = record.vulnerabilities
    assert (found.id, found.severity, found.title, found.pkg_name) == ("CVE-2026-0001", "HIGH", "demo", "libdemo")
    assert (found.installed_version, found.fixed_version) == ("1.0", "1.1")
    assert (found.primary_url, found.rating) == ("https://cve.example/1", "")
    assert (record.counts, record.database_time) == ({"HIGH": 2, "LOW": 7}, NOON)


async def test_a_failed_scan_has_no_counts(scans: MemoryScans) -> None:
    """No client reads 0 findings out of it."""
    record = await ScanQueries(scans, Reports()).record(await stored_scan(scans, OLD))

    assert (record.status, record.counts, record.vulnerabilities) == ("FAILED", None, ())
    assert (record.problem, record.logs) == ("database-old", "Not scanned: the database is 9 days old.")


async def test_files_of_a_scan_are_those_of_its_image(scans: MemoryScans) -> None:
    """SBOMs by the digest of the platform's manifest, the report and the log by the scan."""
    scan_id, manifest = await stored_scan(scans, GOOD), GOOD.platforms[0].digest
    keys = sbom_key(manifest, "spdx"), sbom_key(manifest, "cyclonedx"), report_key(scan_id, manifest), log_key(scan_id)
    queries = ScanQueries(scans, Reports(*keys))

    opened = [
        await queries.sbom(scan_id, SbomFormat.SPDX, None),
        await queries.sbom(scan_id, SbomFormat.CYCLONEDX, "linux/amd64"),
        await queries.report(scan_id, None),
        await queries.log(scan_id),
    ]

    assert [[piece async for piece in pieces] for pieces in opened] == [[key.encode()] for key in keys]


async def test_what_is_unknown_is_not_found(scans: MemoryScans) -> None:
    """In Wave, the log of an unknown scan is a server error."""
    queries, pending = ScanQueries(scans, Reports()), await stored_scan(scans, None)

    assert (await queries.record(pending)).status == "PENDING"
    for work in (
        queries.record("sc-0_1"),
        queries.log("sc-0_1"),
        queries.log(pending),
        queries.sbom(pending, SbomFormat.SPDX, None),
        queries.report("sc-0_1", None),
    ):
        with pytest.raises(NotFound):
            await work


async def test_another_platform_has_no_sbom(scans: MemoryScans) -> None:
    """The message names it."""
    scan_id = await stored_scan(scans, GOOD)

    with pytest.raises(NotFound, match="for linux/arm64"):
        await ScanQueries(scans, Reports()).sbom(scan_id, SbomFormat.SPDX, "linux/arm64")


def test_a_record_of_a_scan_without_result_is_pending() -> None:
    """Clients poll it."""
    submission = ScanSubmission(key="k", image="x", created=NOON)

    assert record_of(Scan(id="sc-1_1", submission=submission)).status == "PENDING"
