"""Scans: requested with an image, judged by severity, read by id."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.builds.first_status import FirstStatus
from gateway.builds.queries import BuildQueries
from gateway.domain.grant import Grant
from gateway.scans.gate import ScanGate
from gateway.scans.queries import ScanQueries, record_of
from gateway.scans.request import ScanRequest, ScanRequests, fingerprint
from gateway.scans.verdict import judge
from gateway.submit.submit import ContainerRequests
from swell.api.containers import ContainerRequest, ScanMode, Severity
from swell.errors import BadRequest, NotFound, NotSupported, ScanDenied, TooManyRequests, Unavailable
from swell.jobs.messages import ScanDone
from swell.oci.digest import Digest, digest_of
from swell.oci.reference import parse_reference
from swell.store.attestations import Attestation
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult
from swell.store.reports import SbomFormat, log_key, report_key, sbom_key
from swell.store.scans import (
    DatabaseInfo,
    Finding,
    PlatformScan,
    Scan,
    ScanProblem,
    ScanResult,
    ScanSubmission,
    SeverityLevel,
)
from swell.store.scans.memory import MemoryScans

from .doubles import (
    CALLER,
    NOON,
    CountedScans,
    KnownEnds,
    MemoryGrants,
    MemoryImages,
    MemoryRegistry,
    RunningScanners,
    ScanQueue,
    scan_status,
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


def asking(mode: str | None, **members: Any) -> ContainerRequest:
    return ContainerRequest(
        scan_mode=ScanMode(mode) if mode else None,
        scan_levels=tuple(map(Severity, members.pop("levels", ()))),
        **members or {"container_image": "ubuntu"},
    )


@pytest.mark.usefixtures("image")
async def test_three_spellings_of_an_image_are_one_scan(
    container_requests: ContainerRequests, scan_queue: ScanQueue
) -> None:
    """Wave has three; the job of the one is published once."""
    spellings = "ubuntu", "ubuntu:latest", IMAGE
    answers = [await container_requests.submit(asking("async", container_image=each), CALLER) for each in spellings]

    assert len({answer.scan_id for answer in answers}) == 1
    assert scan_queue.jobs == [answers[0].scan_id]
    assert all(answer.succeeded is None and answer.warnings == () for answer in answers)


async def test_a_tag_that_moves_is_a_new_scan(
    container_requests: ContainerRequests, registry: MemoryRegistry, image: Digest, scans: MemoryScans
) -> None:
    """Wave returns the old result for a week."""
    first = await container_requests.submit(asking("async"), CALLER)
    moved = registry.images[IMAGE] = digest_of(b"another")
    second = await container_requests.submit(asking("async"), CALLER)

    assert first.scan_id != second.scan_id
    stored = [await scans.get(str(answer.scan_id)) for answer in (first, second)]
    assert [scan.submission.digest for scan in stored if scan] == [image, moved]


@pytest.mark.usefixtures("image")
async def test_another_platform_is_another_scan(container_requests: ContainerRequests) -> None:
    """An index has an image for each."""
    answers = [
        await container_requests.submit(asking("async", container_image="ubuntu", container_platform=each), CALLER)
        for each in ("linux/amd64", "linux/arm64")
    ]

    assert answers[0].scan_id != answers[1].scan_id


def test_scan_ids_are_waves() -> None:
    """The vectors of the specification."""
    build, tool = parse_reference(f"{BUILDS}:c44968632f89dd6c"), parse_reference("quay.io/acme/tool:2.1")

    assert fingerprint(build, None, ("linux/arm64",)) == "80b9e02a956aa954"
    assert fingerprint(tool, Digest(f"sha256:{'ab' * 32}"), ("linux/amd64",)) == "d700b75853d8096c"


@pytest.mark.usefixtures("image")
async def test_a_scan_runs_as_the_caller_who_requests_it(
    container_requests: ContainerRequests, scans: MemoryScans
) -> None:
    """It reads no image with more rights, and names neither the caller nor the token."""
    answer = await container_requests.submit(asking("async"), CALLER)
    scan = await scans.get(str(answer.scan_id))

    assert scan and scan.submission.principal == CALLER.principal
    assert str(answer.container_token) not in repr(record_of(scan))


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("mode", [None, "none"])
async def test_an_image_is_scanned_on_request_only(
    container_requests: ContainerRequests, mode: str | None, scan_queue: ScanQueue
) -> None:
    """B21, R2: `scanLevels` alone scan nothing."""
    answer = await container_requests.submit(asking(mode, container_image="ubuntu", levels=["LOW"]), CALLER)

    assert (answer.scan_id, answer.succeeded, scan_queue.jobs) == (None, True, [])


@pytest.mark.usefixtures("image")
async def test_without_a_scanner_async_is_a_warning(
    container_requests: ContainerRequests, scanners: RunningScanners
) -> None:
    """A pipeline of many images does not stop."""
    scanners.running = False

    answer = await container_requests.submit(asking("async"), CALLER)

    assert (answer.scan_id, answer.succeeded) == (None, True)
    assert len(answer.warnings) == 1 and "`make scanners`" in answer.warnings[0]


async def test_without_a_scanner_required_is_refused(
    container_requests: ContainerRequests, scanners: RunningScanners, builds: MemoryBuilds
) -> None:
    """The message has the command that installs one; no build was started."""
    scanners.running = False

    with pytest.raises(NotSupported, match="`make scanners`"):
        await container_requests.submit(asking("required", container_file=RECIPE), CALLER)

    assert await builds.latest(f"{BUILDS}:c44968632f89dd6c") is None


@pytest.mark.usefixtures("image")
async def test_scans_are_limited(container_requests: ContainerRequests, scan_limits: CountedScans) -> None:
    """A required scan beyond the limit is refused, another one is left out with a warning; a shared one is free."""
    scan_limits.left = 1
    first = await container_requests.submit(asking("async"), CALLER)
    scan_limits.left = 1
    again = await container_requests.submit(asking("async"), CALLER)
    assert again.scan_id == first.scan_id and scan_limits.left == 1

    scan_limits.left = 0
    assert "scan limit" in (await container_requests.submit(asking("async"), CALLER)).warnings[0]
    with pytest.raises(TooManyRequests, match="scan limit"):
        await container_requests.submit(asking("required"), CALLER)


async def test_sif_files_are_not_scanned(container_requests: ContainerRequests) -> None:
    """The answer says so; a required scan is refused."""
    sif = {"container_file": RECIPE, "format": "sif", "freeze": True, "build_repository": "quay.io/me/sif"}
    with pytest.raises(BadRequest, match="SIF files are not scanned"):
        await container_requests.submit(asking("required", **sif), CALLER)

    assert "SIF" in (await container_requests.submit(asking("async", **sif), CALLER)).warnings[0]


async def test_a_dry_run_scans_nothing(container_requests: ContainerRequests, scan_queue: ScanQueue) -> None:
    """Wave hands out an id that is never scanned."""
    answer = await container_requests.submit(asking("required", container_file=RECIPE, dry_run=True), CALLER)

    assert (answer.scan_id, answer.succeeded, scan_queue.jobs) == (None, True, [])


async def test_a_build_is_scanned_when_it_has_ended(
    container_requests: ContainerRequests, scan_queue: ScanQueue, scans: MemoryScans
) -> None:
    """The id is Wave's, and exists at once; the scanner publishes the job at the end of the build."""
    answer = await container_requests.submit(asking("async", container_file=RECIPE), CALLER)

    assert answer.scan_id == "sc-80b9e02a956aa954_1" and scan_queue.jobs == []
    assert await scans.of_build(str(answer.build_id)) == [answer.scan_id]
    again = await container_requests.submit(asking("required", container_file=RECIPE), CALLER)
    assert again.scan_id == answer.scan_id


@pytest.mark.usefixtures("image")
async def test_a_mirror_is_scanned_with_all_platforms(
    scan_requests: ScanRequests, container_requests: ContainerRequests, scans: MemoryScans
) -> None:
    """After its copy, on request only; the record names the mirror."""
    scan_requests._scans_builds = True
    target = {"build_repository": "quay.io/acme", "tower_access_token": "key"}
    mirror = {"container_image": "ubuntu", "mirror": True, **target}
    plain = await container_requests.submit(asking(None, **mirror), CALLER)
    answer = await container_requests.submit(asking("async", **mirror), CALLER)

    assert plain.scan_id is None and str(answer.build_id).startswith("mr-")
    scan = await scans.get(str(answer.scan_id))
    assert scan and (scan.submission.platforms, scan.submission.digest) == ((), None)
    assert scan.submission.image == str(answer.container_image)
    assert await scans.of_build(str(answer.build_id)) == [answer.scan_id]
    record = record_of(scan)
    assert (record.mirror_id, record.build_id) == (answer.build_id, None)


async def test_a_request_that_joins_a_build_gets_a_scan(
    container_requests: ContainerRequests, scans: MemoryScans
) -> None:
    """In Wave, its status is 404 if the first request wanted none."""
    first = await container_requests.submit(asking("none", container_file=RECIPE), CALLER)
    joined = await container_requests.submit(asking("required", container_file=RECIPE), CALLER)

    assert first.build_id == joined.build_id and first.scan_id is None
    assert await scans.of_build(str(first.build_id)) == [joined.scan_id]


async def test_a_build_that_ends_meanwhile_is_scanned_at_once(
    scan_requests: ScanRequests, scan_queue: ScanQueue, container_requests: ContainerRequests, builds: MemoryBuilds
) -> None:
    """Its end was published before the scan was stored."""
    answer = await container_requests.submit(asking("async", container_file=RECIPE), CALLER)
    waiting = ScanRequest(scan_id=answer.scan_id, is_new=True, build_id=answer.build_id)
    await scan_requests.publish(waiting)
    assert scan_queue.jobs == []

    result = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON, digest=digest_of(b"x"))
    await builds.finish(str(answer.build_id), result)
    await scan_requests.publish(waiting)

    assert scan_queue.jobs == [answer.scan_id]


async def test_builds_are_scanned_by_default_if_the_operator_says_so(
    scan_requests: ScanRequests, container_requests: ContainerRequests, scanners: RunningScanners
) -> None:
    """As Wave does; without a scanner there is no warning, because nobody asked for a scan."""
    scan_requests._scans_builds = True
    answer = await container_requests.submit(asking(None, container_file=RECIPE), CALLER)
    assert answer.scan_id == "sc-80b9e02a956aa954_1"

    scanners.running = False
    other = await container_requests.submit(asking(None, container_file="RlJPTSBhbHBpbmU6My4yMQo="), CALLER)
    assert (other.scan_id, other.warnings) == (None, ())


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
    assert status.details_uri == f"https://wave.example.org/v1alpha1/scans/{answer.scan_id}"


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


OLD = replace(GOOD, problem=ScanProblem.DATABASE_OLD, message="Not scanned: the database is 9 days old.", counts={})


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
    scan_id, _ = await scans.request("d700b75853d8096c", submission)
    if result:
        await finish(scans, scan_id, result)
    return scan_id


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


def gated(scan_id: str | None, *levels: str, mode: ScanMode = ScanMode.REQUIRED) -> Grant:
    return Grant(
        token="a" * 26,
        image=IMAGE,
        platform="linux/amd64",
        created=NOON,
        expires=NOON + timedelta(hours=1),
        scan_id=scan_id,
        scan_mode=mode,
        scan_levels=levels,
    )


async def test_the_gate_refuses_what_a_required_scan_does_not_allow(scans: MemoryScans) -> None:
    """The error has the counts and the address; tolerated severities and scans that are not required pass."""
    scan_id = await stored_scan(scans, GOOD)
    gate = ScanGate(scans, "https://wave.example.org", timedelta(seconds=5))

    with pytest.raises(ScanDenied) as denied:
        await gate.check(gated(scan_id, "LOW"))

    assert (denied.value.code, denied.value.status) == ("DENIED", 403)
    assert "2 HIGH, 7 LOW" in str(denied.value)
    assert f"https://wave.example.org/v1alpha1/scans/{scan_id}" in str(denied.value)
    await gate.check(gated(scan_id, "LOW", "HIGH"))
    await gate.check(gated(scan_id, mode=ScanMode.ASYNC))
    await gate.check(gated(None))


async def test_the_gate_fails_closed(scans: MemoryScans) -> None:
    """A failed scan, and one whose record has expired, allow nothing."""
    gate = ScanGate(scans, "https://wave.example.org", timedelta(seconds=5))
    for scan_id, reason in ((await stored_scan(scans, OLD), "9 days old"), ("sc-0_1", "expired")):
        with pytest.raises(ScanDenied, match=reason):
            await gate.check(gated(scan_id, "LOW", "MEDIUM", "HIGH", "CRITICAL"))


async def test_a_pull_waits_for_its_scan(scans: MemoryScans) -> None:
    """The end of the scan wakes it; after the limit, the client tries again."""
    scan_id = await stored_scan(scans, None)
    gate = ScanGate(scans, "https://wave.example.org", timedelta(minutes=1))
    pulls = [asyncio.create_task(gate.check(gated(scan_id, "LOW", "HIGH"))) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(pull.done() for pull in pulls)

    await finish(scans, scan_id, GOOD)
    gate.on_scan_done(done_event(scan_id))
    await asyncio.gather(*pulls)

    impatient = ScanGate(scans, "https://wave.example.org", timedelta(0))
    other, _ = await scans.request("0" * 16, ScanSubmission(key="other", image="x", created=NOON))
    with pytest.raises(Unavailable, match="still running"):
        await impatient.check(gated(other))


async def test_a_newer_database_closes_the_gate(scans: MemoryScans) -> None:
    """An allowed scan is read again after a minute; until then no call is needed for a blob."""
    now = 0.0
    scan_id = await stored_scan(scans, replace(GOOD, counts={}))
    gate = ScanGate(scans, "https://wave.example.org", timedelta(seconds=5), lambda: now)
    await gate.check(gated(scan_id))
    scan = await scans.get(scan_id)
    assert scan
    await scans.replace(scan, GOOD)
    await gate.check(gated(scan_id))

    now = 61.0
    with pytest.raises(ScanDenied):
        await gate.check(gated(scan_id))


def done_event(scan_id: str) -> ScanDone:
    return ScanDone(id=scan_id, image="x", platform="linux/amd64", succeeded=True, finished=NOON)
