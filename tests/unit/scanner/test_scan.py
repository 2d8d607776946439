"""A scan has one result, and never fewer findings than there are."""

from datetime import date, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from scanner.catalogue import Catalogue
from scanner.dispatch import Dispatcher
from scanner.domain.failure import ScanFailure
from scanner.domain.policy import Policy, Waiver
from scanner.rematch import Rematcher
from scanner.scan import TRIES, ScanRunner
from swell.errors import Unavailable
from swell.jobs.messages import BuildDone, ScanJob
from swell.oci.digest import digest_of
from swell.registry.credentials.principal import limited_to
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult, Submission
from swell.store.scans import Finding, Scan, ScanProblem, ScanResult, ScanSubmission, SeverityLevel
from swell.store.scans.memory import MemoryScans
from swell.store.scans.records import build_key, image_key

from .doubles import BUILT, NO_DATABASE, FakeImages, FakeLeases, FakeTool, MemoryReports, Published

DIGEST = digest_of(b"image")
TEAM = limited_to(["quay.io/acme"])


def finding(number: int, severity: SeverityLevel = SeverityLevel.HIGH) -> Finding:
    return Finding(id=f"CVE-{number:03}", severity=severity, package=f"lib{number}", version="1")


def submission(**fields: Any) -> ScanSubmission:
    values: dict[str, Any] = {
        "image": "quay.io/acme/tool:2.1",
        "created": BUILT,
        "digest": DIGEST,
        "platforms": ("linux/amd64",),
        "principal": TEAM,
        **fields,
    }
    own = values.get("organisation", "")
    build_id = values.get("build_id")
    key = build_key(build_id, own) if build_id else image_key("quay.io/acme/tool", DIGEST, (), own)
    return ScanSubmission(key=key, **values)


class Scanner:
    """A scanner with stand-ins around it."""

    def __init__(self, tool: FakeTool, most_findings: int = 100) -> None:
        self.tool, self.scans, self.builds = tool, MemoryScans(), MemoryBuilds()
        self.policy = Policy()
        self.images, self.reports, self.leases, self.published = (
            FakeImages(),
            MemoryReports(),
            FakeLeases(),
            Published(),
        )
        self.runner = ScanRunner(
            tool,
            self.scans,
            self.builds,
            Catalogue(tool, self.images, self.reports),
            self.reports,
            self.leases,
            self.published,
            time_limit=timedelta(minutes=1),
            most_findings=most_findings,
            policy=lambda: self.policy,
        )
        self.dispatcher = Dispatcher(self.scans, self.builds, self.published, self.published)
        self.rematcher = Rematcher(tool, self.scans, self.reports, self.runner, self.leases, self.published)

    async def request(self, **fields: Any) -> str:
        return (await self.scans.request("d700b75853d8096c", submission(**fields), "client"))[0]

    async def run(self, scan_id: str, delivery: int = 1) -> ScanResult:
        await self.runner.scan(ScanJob(id=scan_id), delivery)
        return await self.result(scan_id)

    async def scan(self, scan_id: str) -> Scan:
        scan = await self.scans.get(scan_id)
        assert scan
        return scan

    async def result(self, scan_id: str) -> ScanResult:
        result = (await self.scan(scan_id)).result
        assert result
        return result

    async def build(self, *, succeeded: bool = True, ended: bool = True) -> str:
        recipe = Submission(
            container_id="c44968632f89dd6c",
            target_image="registry/builds:c44968632f89dd6c",
            containerfile="FROM x\n",
            platform="linux/amd64",
            created=BUILT,
        )
        build_id, _ = await self.builds.submit(recipe)
        if ended:
            digest = DIGEST if succeeded else None
            result = BuildResult(succeeded=succeeded, exit_status=0, started=BUILT, finished=BUILT, digest=digest)
            await self.builds.finish(build_id, result)
        return build_id


async def test_findings_are_counted_before_the_list_is_cut() -> None:
    """The list has the most severe; the counts, which decide, have all."""
    found = [*(finding(number, SeverityLevel.LOW) for number in range(150)), finding(999, SeverityLevel.CRITICAL)]
    scanner = Scanner(FakeTool(*found), most_findings=100)

    result = await scanner.run(await scanner.request())

    assert (result.counts, result.total) == ({"CRITICAL": 1, "LOW": 150}, 151)
    assert len(result.findings) == 100 and result.findings[0].id == "CVE-999"
    assert scanner.published.ended[0].counts == {"CRITICAL": 1, "LOW": 150}


async def test_every_platform_of_an_index_counts() -> None:
    """A vulnerability of one platform does not hide behind another platform."""
    scanner = Scanner(FakeTool(finding(1)))

    result = await scanner.run(await scanner.request(platforms=()))

    assert result.counts == {"HIGH": 2} and result.packages == 6
    assert [(each.platform, each.counts) for each in result.platforms] == [
        ("linux/amd64", {"HIGH": 1}),
        ("linux/arm64", {"HIGH": 1}),
    ]
    assert {each.platform for each in result.findings} == {"linux/amd64", "linux/arm64"}


async def test_an_image_is_read_with_the_callers_credentials_by_its_digest() -> None:
    """A tag that moves in the meantime is not what was requested."""
    scanner = Scanner(FakeTool())
    await scanner.run(await scanner.request())

    assert set(scanner.images.principals) == {TEAM}
    assert scanner.images.read == [f"quay.io/acme/tool@{DIGEST}"]


async def test_of_a_mirror_the_source_is_read() -> None:
    """Also its stored SBOM: that of the copy's repository may be of an image that the client may not read."""
    scanner = Scanner(FakeTool())
    await scanner.run(await scanner.request())
    mirror = replace(submission(), source="evil.example/tool:1", key="mirror", mirror_id="mr-1")
    scan_id, _ = await scanner.scans.request("2" * 16, mirror, "client")

    assert (await scanner.run(scan_id)).succeeded
    assert scanner.images.read[-1] == f"evil.example/tool@{DIGEST}"
    assert len(scanner.tool.catalogued) == 2


async def test_a_stored_sbom_is_used_again() -> None:
    """The same image in another scan is not downloaded."""
    scanner = Scanner(FakeTool(finding(1)))
    await scanner.run(await scanner.request())
    other = await scanner.scans.request("0" * 16, submission(build_id="bd-9_1"), "client")

    assert (await scanner.run(other[0])).counts == {"HIGH": 1}
    assert len(scanner.tool.catalogued) == 1


async def test_a_stored_sbom_is_not_used_for_another_repository() -> None:
    """A hostile registry may serve the manifest of a private image without having its layers."""
    scanner = Scanner(FakeTool())
    await scanner.run(await scanner.request())
    hostile = replace(submission(), image="evil.example/tool:1", key="evil")
    other = await scanner.scans.request("1" * 16, hostile, "client")

    await scanner.run(other[0])
    assert len(scanner.tool.catalogued) == 2


async def test_without_a_database_nothing_is_known() -> None:
    """The result names the state of the database, has no counts, and keeps the SBOM."""
    scanner = Scanner(FakeTool(finding(1)))
    scanner.tool.failure = NO_DATABASE

    result = await scanner.run(await scanner.request())

    assert (result.problem, result.counts, result.findings) == (ScanProblem.DATABASE_MISSING, {}, ())
    assert result.message.startswith("Not scanned: ") and result.platforms[0].packages == 3
    assert ("quay.io/acme/tool", result.platforms[0].digest) in scanner.reports.sboms
    assert not scanner.published.ended[0].succeeded


async def test_no_packages_is_not_clean() -> None:
    """The result says that nothing is known."""
    scanner = Scanner(FakeTool(packages=0))

    result = await scanner.run(await scanner.request())

    assert result.packages == 0 and result.message.startswith("No packages were found")


async def test_a_registry_that_fails_is_tried_again() -> None:
    """The job returns to the queue twice; then the scan fails."""
    scanner = Scanner(FakeTool())
    scan_id = await scanner.request()
    scanner.images.failures = [Unavailable("away")] * TRIES
    for delivery in range(1, TRIES):
        with pytest.raises(Unavailable):
            await scanner.run(scan_id, delivery)

    assert (await scanner.run(scan_id, TRIES)).problem is ScanProblem.IMAGE


async def test_a_job_that_is_delivered_twice_runs_once() -> None:
    """The second delivery publishes the result again."""
    scanner = Scanner(FakeTool(finding(1)))
    scan_id = await scanner.request()
    first = await scanner.run(scan_id)

    assert await scanner.run(scan_id) == first
    assert len(scanner.images.read) == 1 and len(scanner.published.ended) == 2


async def test_a_scan_without_end_is_ended() -> None:
    """The time limit is for the whole scan."""
    scanner = Scanner(FakeTool())
    scanner.images.failures = [TimeoutError()]

    with pytest.raises(Unavailable):
        await scanner.run(await scanner.request())


async def test_a_replayed_job_runs_again() -> None:
    """The operator has solved why no scanner could do it."""
    scanner = Scanner(FakeTool(finding(1)))
    scan_id = await scanner.request()
    await scanner.runner.give_up(scan_id, "crashed")
    assert (await scanner.result(scan_id)).problem is ScanProblem.GIVEN_UP

    assert (await scanner.run(scan_id)).counts == {"HIGH": 1}


async def test_the_log_names_image_platforms_and_the_end() -> None:
    """Clients read it at /logs."""
    scanner = Scanner(FakeTool())
    scanner.tool.failure = NO_DATABASE
    scan_id = await scanner.request()
    await scanner.run(scan_id)

    log = scanner.reports.logs[scan_id]
    assert f"image quay.io/acme/tool@{DIGEST}" in log and "3 packages, new SBOM" in log
    assert log.endswith(f"{NO_DATABASE}\n")


async def test_a_scan_waits_for_its_build() -> None:
    """Its job is published when the build has succeeded, and it scans the digest of the build."""
    scanner = Scanner(FakeTool(finding(1)))
    build_id = await scanner.build()
    scan_id = await scanner.request(build_id=build_id, digest=None, image="registry/builds:c44968632f89dd6c")

    await scanner.dispatcher.build_done(build_done(build_id, succeeded=True), 1)

    assert scanner.published.jobs == [scan_id]
    assert (await scanner.run(scan_id)).counts == {"HIGH": 1}
    assert scanner.images.read == [f"docker.io/registry/builds@{DIGEST}"]
    named = await scanner.scans.latest(image_key("docker.io/registry/builds", DIGEST, ("linux/amd64",)))
    assert named and named.id == scan_id


async def test_a_failed_build_ends_its_scans() -> None:
    """No client waits for a scan that will not run."""
    scanner = Scanner(FakeTool())
    build_id = await scanner.build(succeeded=False)
    scan_id = await scanner.request(build_id=build_id, digest=None)

    await scanner.dispatcher.build_done(build_done(build_id, succeeded=False), 1)

    assert (await scanner.result(scan_id)).problem is ScanProblem.BUILD
    assert scanner.published.jobs == [] and len(scanner.published.ended) == 1


async def test_lost_jobs_are_published_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that crashes after it stored a scan leaves no scan that stays pending."""
    monkeypatch.setattr("scanner.dispatch.LOST_TIMEOUT", timedelta(0))
    scanner = Scanner(FakeTool())
    lost = await scanner.request()
    waiting, _ = await scanner.scans.request(
        "1" * 16, submission(build_id=await scanner.build(ended=False), digest=None), "client"
    )
    queued, _ = await scanner.scans.request("2" * 16, submission(build_id="bd-7_1"), "client")
    scanner.published.queued = {queued}

    assert await scanner.dispatcher.republish_lost() == 1
    assert scanner.published.jobs == [lost]
    assert (await scanner.scan(waiting)).result is None


async def test_a_new_database_finds_what_became_affected() -> None:
    """No image is read again; the event and the list have the new findings only."""
    scanner = Scanner(FakeTool(finding(1)))
    scan_id = await scanner.request()
    await scanner.run(scan_id)
    assert await scanner.rematcher.rematch() == 0

    scanner.tool.built = BUILT + timedelta(days=1)
    scanner.tool.findings = (finding(1), finding(2, SeverityLevel.CRITICAL))
    assert await scanner.rematcher.rematch() == 1

    result = await scanner.result(scan_id)
    assert result.counts == {"CRITICAL": 1, "HIGH": 1}
    assert result.database and result.database.built == scanner.tool.built
    assert len(scanner.tool.catalogued) == len(scanner.images.read) == 1
    (event,) = scanner.published.changed
    assert (event.scan_id, event.added, event.vulnerabilities) == (scan_id, {"CRITICAL": 1}, ("CVE-002",))
    (entry,) = await scanner.scans.affected()
    assert (entry.image, entry.added) == ("quay.io/acme/tool:2.1", {"CRITICAL": 1})


async def test_an_unchanged_database_changes_only_the_date() -> None:
    """No event is published."""
    scanner = Scanner(FakeTool(finding(1)))
    await scanner.run(await scanner.request())
    scanner.tool.built = BUILT + timedelta(days=1)

    assert await scanner.rematcher.rematch() == 1
    assert scanner.published.changed == [] and await scanner.rematcher.rematch() == 0


async def test_a_new_policy_judges_stored_results_again() -> None:
    """Without another database; what it waives stays in the record, and no event is published."""
    scanner = Scanner(FakeTool(finding(1), finding(2, SeverityLevel.CRITICAL)))
    scan_id = await scanner.request()
    await scanner.run(scan_id)
    assert await scanner.rematcher.rematch() == 0

    scanner.policy = Policy(waivers=(Waiver(vulnerability="CVE-002", reason="not used", expires=date.max),))
    assert await scanner.rematcher.rematch() == 1

    result = await scanner.result(scan_id)
    assert (result.counts, len(result.findings)) == ({"HIGH": 1}, 2)
    assert result.findings[-1].waiver.startswith("not used")
    assert await scanner.rematcher.rematch() == 0
    assert scanner.published.changed == []


async def test_a_scan_is_judged_by_the_policy_of_its_organisation() -> None:
    """A change of that policy judges its scans again, and no others."""
    scanner = Scanner(FakeTool(finding(1)))
    waived = Policy(waivers=(Waiver(vulnerability="CVE-001", reason="not used", expires=date.max),))
    scanner.policy = Policy(organisation={"lab.example": waived})
    own, other = [await scanner.request(organisation=name) for name in ("lab.example", "other.example")]
    for scan_id in (own, other):
        await scanner.run(scan_id)

    assert [(await scanner.result(each)).counts for each in (own, other)] == [{}, {"HIGH": 1}]
    await scanner.rematcher.rematch()
    scanner.policy = Policy()
    assert await scanner.rematcher.rematch() == 1
    assert (await scanner.result(own)).counts == {"HIGH": 1}


async def test_one_scan_that_another_scanner_holds_does_not_stop_the_others() -> None:
    """It is matched again at the next time."""
    scanner = Scanner(FakeTool(finding(1)))
    held = await scanner.request()
    await scanner.run(held)
    free, _ = await scanner.scans.request("1" * 16, submission(build_id="bd-7_1"), "client")
    await scanner.run(free)
    scanner.tool.built = BUILT + timedelta(days=1)
    scanner.leases.taken = {held}

    assert await scanner.rematcher.rematch() == 1
    scanner.leases.taken = set()
    assert await scanner.rematcher.rematch() == 1


async def test_a_failing_tool_ends_the_matching() -> None:
    """The stored results stay; the caller logs the reason and tries again later."""
    scanner = Scanner(FakeTool(finding(1)))
    scan_id = await scanner.request()
    before = await scanner.run(scan_id)
    scanner.tool.built, scanner.tool.failure = BUILT + timedelta(days=1), NO_DATABASE

    with pytest.raises(ScanFailure):
        await scanner.rematcher.rematch()

    assert await scanner.result(scan_id) == before


def build_done(build_id: str, *, succeeded: bool) -> BuildDone:
    return BuildDone(
        id=build_id, target_image="registry/builds:1", platform="linux/amd64", succeeded=succeeded, finished=BUILT
    )
