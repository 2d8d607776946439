"""Scan an image: list the packages of each platform's image, and match them with the vulnerability database."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from scanner.catalogue import Catalogue, PlatformImage, StoredSboms
from scanner.domain import findings as rules
from scanner.domain.failure import ScanFailure
from scanner.domain.policy import Policy
from scanner.tools.protocol import Match, ScanTool
from swell.concurrency.retry import retry_until_available
from swell.errors import Unavailable
from swell.jobs.messages import ScanDone, ScanJob
from swell.log import log
from swell.oci.digest import Digest
from swell.oci.reference import Reference
from swell.store.builds import BuildRecords
from swell.store.scans import Finding, PlatformScan, Scan, ScanProblem, ScanResult, Scans, ScanSubmission
from swell.store.scans.records import image_key

TRIES = 3
"""Deliveries of a job whose image cannot be read at the moment, after which the scan fails."""
_LOG_LINES, _LOG_LINE = 200, 2000


class Reports(StoredSboms, Protocol):
    async def scanned_sbom(self, repository: str, manifest: Digest) -> bytes | None:
        """As `sbom`, for an image that was scanned, perhaps by version 0.2.0, which stored no repository."""

    async def put_match(self, scan_id: str, manifest: Digest, match: Match) -> None:
        """Store the report and all findings of one platform's image."""

    async def findings(self, scan_id: str, manifest: Digest) -> tuple[Finding, ...]:
        """Return the findings that `put_match` has stored last."""

    async def put_log(self, scan_id: str, text: str) -> None: ...


class Leases(Protocol):
    def hold(self, scan_id: str) -> AbstractAsyncContextManager[None]:
        """Hold the lease of *scan_id* for the length of the block; raises `Unavailable` if another scanner has it."""


class Events(Protocol):
    async def done(self, event: ScanDone) -> None: ...


class ScanLog:
    """The lines of a scan's log, at most 200."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        if len(self._lines) < _LOG_LINES:
            self._lines.append(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line[:_LOG_LINE]}")

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)


class ScanRunner:
    """Runs scan jobs. A job may be delivered several times; its scan has one result."""

    def __init__(
        self,
        tool: ScanTool,
        scans: Scans,
        builds: BuildRecords,
        catalogue: Catalogue,
        reports: Reports,
        leases: Leases,
        events: Events,
        *,
        time_limit: timedelta,
        most_findings: int,
        policy: Callable[[], Policy] = Policy,
    ) -> None:
        self._policy = policy
        self._tool = tool
        self._scans = scans
        self._builds = builds
        self._catalogue = catalogue
        self._reports = reports
        self._leases = leases
        self._events = events
        self._time_limit = time_limit
        self._most_findings = most_findings

    async def scan(self, job: ScanJob, delivery: int) -> None:
        """Run *job* unless its scan has a result, and publish the result.

        Raises:
            Unavailable: a backend or the image's registry is unavailable; the job has to be delivered again.
        """
        async with self._leases.hold(job.id):
            scan = await self._scans.get(job.id)
            if scan is None:
                log.warning("scan has no record", scan_id=job.id)
                return
            if scan.result and scan.result.problem is ScanProblem.GIVEN_UP:
                await self._scans.reopen(scan.id)
                scan = replace(scan, result=None)
            result = scan.result or await self._run_and_record(scan, delivery)
        await self._events.done(done(scan, result))

    async def give_up(self, scan_id: str, why: str) -> None:
        """Record that no scanner can run the job of *scan_id*, so that clients do not wait for it."""
        if scan := await self._scans.get(scan_id):
            failure = ScanFailure(ScanProblem.GIVEN_UP, f"No scanner could do this job: it {why}.")
            result = await self._scans.finish(scan, self._failed(datetime.now(UTC), failure))
            await self._events.done(done(scan, result))

    async def _run_and_record(self, scan: Scan, delivery: int) -> ScanResult:
        lines, started = ScanLog(), datetime.now(UTC)
        try:
            result = await self._run(scan, lines, started)
        except ScanFailure as failure:
            result = self._failed(started, failure)
        except Unavailable as error:
            if delivery < TRIES:
                raise
            result = self._failed(started, ScanFailure(ScanProblem.IMAGE, f"The scan could not be done: {error}."))
        lines.add(result.message or "the scan has ended")
        await retry_until_available(lambda: self._reports.put_log(scan.id, lines.text))
        recorded = await retry_until_available(lambda: self._scans.finish(scan, result))
        seconds = round(recorded.duration.total_seconds(), 3)
        log.info("scan ended", scan_id=scan.id, problem=recorded.problem, counts=recorded.counts, seconds=seconds)
        return recorded

    async def _run(self, scan: Scan, lines: ScanLog, started: datetime) -> ScanResult:
        submission = scan.submission
        limit = asyncio.timeout(self._time_limit.total_seconds())
        platforms: list[PlatformScan] = []
        try:
            async with limit:
                reference = await self._reference(scan)
                lines.add(f"image {reference}, platforms {', '.join(submission.platforms) or 'all'}; {self._tool.name}")
                images = await self._catalogue.images(reference, submission.platforms, submission.principal)
                sboms = [await self._sbom(image, submission, lines, platforms) for image in images]
                matches = [await self._match(scan, image, sbom) for image, sbom in zip(images, sboms, strict=True)]
        except ScanFailure as failure:
            return self._failed(started, failure, platforms)
        except TimeoutError as error:
            if not limit.expired():
                raise Unavailable("a backend does not answer") from error
            message = f"The scan took longer than the {self._time_limit} h that this server allows."
            return self._failed(started, ScanFailure(ScanProblem.TIMED_OUT, message), platforms)
        return self.result(scan, started, platforms, matches)

    def result(
        self, scan: Scan, started: datetime, platforms: Sequence[PlatformScan], matches: Sequence[Match]
    ) -> ScanResult:
        """Return the result of *matches*, one for each of *platforms*; it counts all findings before it cuts them."""
        several = len(platforms) > 1
        found = [
            replace(finding, platform=scanned.platform) if several else finding
            for scanned, match in zip(platforms, matches, strict=True)
            for finding in match.findings
        ]
        counted = [
            replace(scanned, counts=rules.count(match.findings))
            for scanned, match in zip(platforms, matches, strict=True)
        ]
        packages = sum(scanned.packages for scanned in platforms)
        now = datetime.now(UTC)
        return ScanResult(
            started=started,
            finished=now,
            exit_code=0,
            message="" if packages else "No packages were found, so nothing is known about vulnerabilities.",
            counts=rules.count(found),
            packages=packages,
            findings=tuple(rules.most_severe_first(found)[: self._most_findings]),
            platforms=tuple(counted),
            tool=self._tool.name,
            database=min((match.database for match in matches), key=lambda each: each.built),
            matched=now,
            policy=self.revision_for(scan),
        )

    async def _reference(self, scan: Scan) -> Reference:
        """The image by its digest, which is that of the build if the scan waits for one."""
        submission = scan.submission
        image = submission.read_image
        if submission.digest:
            return image.at(submission.digest)
        if submission.build_id is None:
            return image
        build = await self._builds.get(submission.build_id)
        if build is None or build.result is None:
            raise Unavailable(f"the build {submission.build_id} has not ended")
        if not build.result.succeeded or build.result.digest is None:
            raise ScanFailure(ScanProblem.BUILD, f"The build {submission.build_id} of the image did not succeed.")
        await self._scans.name(
            scan.id, image_key(image.name, build.result.digest, submission.platforms, submission.organisation)
        )
        return image.at(build.result.digest)

    async def _sbom(
        self, image: PlatformImage, submission: ScanSubmission, lines: ScanLog, platforms: list[PlatformScan]
    ) -> bytes:
        """Return the SBOM of *image*, stored for its repository and digest or new; add it to *platforms*."""
        digest, made = image.manifest.digest, await self._catalogue.sbom(image, submission.principal)
        origin = "new" if made.is_new else "stored"
        lines.add(f"{image.platform}: {digest}, {made.packages} packages, {origin} SBOM")
        platforms.append(PlatformScan(platform=image.platform, digest=digest, packages=made.packages))
        return made.sbom

    async def match(self, scan: Scan, manifest: Digest, sbom: bytes) -> Match:
        """Match *sbom*, and apply the policy of now to its findings.

        Raises:
            ScanFailure: the tool or its database fails.
        """
        match = await self._tool.match(sbom)
        digests = {manifest, scan.submission.digest or manifest}
        today = datetime.now(UTC).date()
        policy = self._policy().of(scan.submission.organisation)
        findings = policy.apply(match.findings, scan.submission.image, digests, today)
        return replace(match, findings=findings)

    def policy_revision(self) -> str:
        """The revision of the whole policy of now."""
        return self._policy().revision(datetime.now(UTC).date())

    def revision_for(self, scan: Scan) -> str:
        """The revision of the policy of now for the organisation of *scan*."""
        return self._policy().of(scan.submission.organisation).revision(datetime.now(UTC).date())

    async def _match(self, scan: Scan, image: PlatformImage, sbom: bytes) -> Match:
        match = await self.match(scan, image.manifest.digest, sbom)
        await self._reports.put_match(scan.id, image.manifest.digest, match)
        return match

    def _failed(self, started: datetime, failure: ScanFailure, platforms: Sequence[PlatformScan] = ()) -> ScanResult:
        return ScanResult(
            started=started,
            finished=datetime.now(UTC),
            problem=failure.problem,
            message=str(failure),
            exit_code=failure.exit_code,
            packages=sum(scanned.packages for scanned in platforms),
            platforms=tuple(platforms),
            tool=self._tool.name,
        )


def done(scan: Scan, result: ScanResult) -> ScanDone:
    """The event for a *scan* that ended with *result*."""
    return ScanDone(
        id=scan.id,
        image=scan.submission.image,
        platform=",".join(each.platform for each in result.platforms) or ",".join(scan.submission.platforms),
        succeeded=result.succeeded,
        finished=result.finished,
        organisation=scan.submission.organisation,
        counts=dict(result.counts),
        build_id="" if scan.submission.mirror_id else scan.submission.build_id or "",
    )
