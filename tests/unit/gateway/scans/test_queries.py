"""Scans are read by their ids."""

from collections.abc import AsyncIterator, Mapping

import msgspec
import pytest
from msgspec.structs import replace

from gateway.scans.queries import ScanQueries, record_of
from swell.errors import NotFound, TooLarge
from swell.oci.digest import digest_of
from swell.store.reports import SbomFormat, earlier_sbom_key, findings_key, log_key, report_key, sbom_key
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
    """SBOMs by repository and digest of the manifest, earlier ones by digest; the report and the log by the scan."""
    scan_id, manifest = await stored_scan(scans, GOOD), GOOD.platforms[0].digest
    spdx, cyclonedx = sbom_key("quay.io/acme/tool", manifest, "spdx"), earlier_sbom_key(manifest, "cyclonedx")
    keys = spdx, cyclonedx, report_key(scan_id, manifest), log_key(scan_id)
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


async def test_findings_are_an_openvex_document(scans: MemoryScans) -> None:
    """A waived finding is not affected, with its reason; another one says what to do."""
    (demo,), manifest = GOOD.findings, GOOD.platforms[0].digest
    named = replace(demo, package_url="pkg:deb/debian/libdemo@1.0", aliases=("GHSA-1",))
    waived = replace(named, id="CVE-2026-0002", waiver="not reachable (until 2027-01-01)")
    scan_id = await stored_scan(scans, GOOD)
    stored = {findings_key(scan_id, manifest): msgspec.json.encode([named, waived])}

    document = msgspec.json.decode(await ScanQueries(scans, StoredFindings(stored)).vex(scan_id))

    assert document["@context"] == "https://openvex.dev/ns/v0.2.0" and document["timestamp"]
    first, second = document["statements"]
    assert (first["status"], first["action_statement"]) == ("affected", "Update libdemo 1.0 to 1.1.")
    assert first["vulnerability"] == {"name": "CVE-2026-0001", "aliases": ["GHSA-1"]}
    assert (second["status"], second["impact_statement"]) == ("not_affected", waived.waiver)
    (product,) = second["products"]
    assert product["@id"] == f"pkg:oci/tool@{manifest.replace(':', '%3A')}?repository_url=quay.io/acme/tool"
    assert product["subcomponents"] == [{"@id": "pkg:deb/debian/libdemo@1.0"}]


async def test_a_failed_scan_has_no_openvex_document(scans: MemoryScans) -> None:
    """A document without statements would say that nothing is known to be wrong."""
    with pytest.raises(NotFound, match="has not succeeded"):
        await ScanQueries(scans, Reports()).vex(await stored_scan(scans, OLD))


async def test_an_openvex_document_is_bounded_over_all_platforms(scans: MemoryScans) -> None:
    """An image of many platforms, each with thousands of findings, would use the memory of the gateway."""
    platforms = [replace(GOOD.platforms[0], digest=digest_of(name)) for name in (b"amd64", b"arm64")]
    scan_id = await stored_scan(scans, replace(GOOD, platforms=tuple(platforms)))
    content = b"[" + b" " * (9 << 20) + b"]"
    stored = {findings_key(scan_id, each.digest): content for each in platforms}

    with pytest.raises(TooLarge, match="read its report"):
        await ScanQueries(scans, StoredFindings(stored)).vex(scan_id)


class StoredFindings:
    """Findings by their keys, as they are stored."""

    def __init__(self, stored: Mapping[str, bytes]) -> None:
        self._stored = stored

    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        return _one(self._stored[key]) if key in self._stored else None


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
