"""Examples of scans, and their stand-ins."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from swell.api.containers import ContainerRequest, ScanMode, Severity
from swell.oci.digest import digest_of
from swell.store.attestations import Attestation
from swell.store.scans import (
    DatabaseInfo,
    Finding,
    PlatformScan,
    ScanProblem,
    ScanResult,
    ScanSubmission,
    SeverityLevel,
)
from swell.store.scans.memory import MemoryScans
from tests.unit.gateway.doubles import (
    NOON,
)

IMAGE = "docker.io/library/ubuntu:latest"
RECIPE = "RlJPTSBhbHBpbmU6My4yMApSVU4gYXBrIGFkZCBqcQo="
BUILDS = "registry.example.com/team/builds"
GOOD = ScanResult(
    started=NOON,
    finished=NOON + timedelta(seconds=63),
    packages=3,
    exit_code=0,
    counts={"HIGH": 2, "LOW": 7},
    platforms=(PlatformScan(platform="linux/amd64", digest=digest_of(b"manifest"), packages=3),),
    database=DatabaseInfo(built=NOON),
    findings=(
        Finding(
            id="CVE-2026-0001",
            severity=SeverityLevel.HIGH,
            rating="High",
            package="libdemo",
            version="1.0",
            fixed_version="1.1",
            title="demo",
            url="https://cve.example/1",
        ),
    ),
)
OLD = replace(GOOD, problem=ScanProblem.DATABASE_OLD, message="Not scanned: the database is 9 days old.", counts={})


def asking(mode: str | None, **members: Any) -> ContainerRequest:
    return ContainerRequest(
        scan_mode=ScanMode(mode) if mode else None,
        scan_levels=tuple(map(Severity, members.pop("levels", ()))),
        **members or {"container_image": "ubuntu"},
    )


class NoLogs:
    """No build has a log."""

    async def complete(self, build_id: str) -> AsyncIterator[bytes] | None:
        return None

    async def attestation(self, build_id: str, kind: Attestation) -> bytes | None:
        return None

    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
        return None

    def so_far(self, build_id: str) -> AsyncIterator[bytes]:
        return _pieces("")


class Reports:
    """Stored reports by their keys."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys

    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        return _pieces(key) if key in self._keys else None


async def _pieces(key: str) -> AsyncIterator[bytes]:
    yield key.encode()


async def finish(scans: MemoryScans, scan_id: str, result: ScanResult) -> None:
    scan = await scans.get(scan_id)
    assert scan
    await scans.finish(scan, result)


async def stored_scan(scans: MemoryScans, result: ScanResult | None) -> str:
    submission = ScanSubmission(
        key="k", image="quay.io/acme/tool:2.1", created=NOON, platforms=("linux/amd64",), build_id="bd-1_1"
    )
    scan_id, _ = await scans.request("d700b75853d8096c", submission, "client")
    if result:
        await finish(scans, scan_id, result)
    return scan_id
