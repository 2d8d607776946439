"""The status of a request waits for its required scan, and judges it."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.builds.first_status import FirstStatus
from gateway.builds.queries import BuildQueries
from gateway.scans.verdict import judge
from gateway.submit.submit import ContainerRequests
from swell.oci.digest import Digest, digest_of
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult
from swell.store.scans import (
    ScanResult,
)
from swell.store.scans.memory import MemoryScans
from tests.unit.gateway.doubles import (
    CALLER,
    NOON,
    KnownEnds,
    MemoryGrants,
    MemoryImages,
    MemoryRegistry,
    scan_status,
)
from tests.unit.gateway.scans.examples import GOOD, IMAGE, OLD, RECIPE, NoLogs, asking, finish


@pytest.fixture
def image(registry: MemoryRegistry) -> Digest:
    """The digest of `IMAGE`."""
    registry.push(IMAGE)
    return registry.images[IMAGE]


@pytest.fixture
def statuses(grants: MemoryGrants, builds: MemoryBuilds, scans: MemoryScans) -> BuildQueries:
    first = FirstStatus(grants, KnownEnds())
    server = "https://wave.example.org"
    return BuildQueries(grants, MemoryImages(), builds, NoLogs(), server, first, scan_status(scans))


async def test_the_status_waits_for_a_required_scan(
    container_requests: ContainerRequests, statuses: BuildQueries, scans: MemoryScans, image: Digest
) -> None:
    """E12: SCANNING, then DONE with the counts, a reason and a link (S3, S11)."""
    answer = await container_requests.submit(asking("required", container_image="ubuntu", levels=["LOW"]), CALLER)
    status = await statuses.container_status(answer.request_id)
    assert (status.status, status.succeeded, status.duration) == ("SCANNING", None, None)
    assert status.scan_id == answer.scan_id

    await finish(scans, str(answer.scan_id), GOOD)
    status = await statuses.container_status(answer.request_id)

    assert (status.status, status.succeeded, status.duration) == ("DONE", False, 63.0)
    assert status.vulnerabilities == {"HIGH": 2, "LOW": 7}
    assert status.reason == "The scan found severities that are not allowed: HIGH"
    assert status.details_uri == f"https://wave.example.org/view/scans/{answer.scan_id}"


@pytest.mark.usefixtures("image")
async def test_an_async_scan_does_not_change_the_status(
    container_requests: ContainerRequests, statuses: BuildQueries
) -> None:
    """S4: DONE at once; the id is there."""
    answer = await container_requests.submit(asking("async"), CALLER)
    status = await statuses.container_status(answer.request_id)

    assert (status.status, status.succeeded, status.scan_id) == ("DONE", True, answer.scan_id)
    assert status.vulnerabilities is None


async def test_a_build_is_building_before_it_is_scanned(
    container_requests: ContainerRequests, statuses: BuildQueries, builds: MemoryBuilds, scans: MemoryScans
) -> None:
    """BUILDING, SCANNING, DONE; the duration is the sum."""
    answer = await container_requests.submit(asking("required", container_file=RECIPE), CALLER)
    assert (await statuses.container_status(answer.request_id)).status == "BUILDING"

    end = NOON + timedelta(seconds=10)
    result = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=end, digest=digest_of(b"x"))
    await builds.finish(str(answer.build_id), result)
    assert (await statuses.container_status(answer.request_id)).status == "SCANNING"

    await finish(scans, str(answer.scan_id), replace(GOOD, counts={}))
    status = await statuses.container_status(answer.request_id)
    assert (status.status, status.succeeded, status.duration, status.reason) == ("DONE", True, 73.0, None)


@pytest.mark.parametrize(
    ("result", "levels", "allowed", "reason"),
    [
        (GOOD, ["LOW", "HIGH"], True, "The scan found only severities that are allowed: HIGH, LOW"),
        (GOOD, [], False, "The scan found severities that are not allowed: HIGH, LOW"),
        (replace(GOOD, counts={}), [], True, ""),
        (OLD, ["LOW", "MEDIUM", "HIGH", "CRITICAL"], False, "Not scanned: the database is 9 days old."),
        (replace(GOOD, packages=0, counts={}), ["LOW"], False, "No packages were found"),
        (replace(GOOD, counts={"UNKNOWN": 1}), ["LOW", "MEDIUM", "HIGH"], False, "not allowed: UNKNOWN"),
        (replace(GOOD, counts={"UNKNOWN": 1}), ["LOW", "MEDIUM", "HIGH", "CRITICAL"], True, "UNKNOWN"),
    ],
)
def test_a_required_scan_fails_closed(result: ScanResult, levels: list[str], allowed: bool, reason: str) -> None:
    """Only what is known to be harmless enough is allowed."""
    verdict = judge(result, levels)

    assert verdict.is_allowed is allowed
    assert reason in verdict.reason
