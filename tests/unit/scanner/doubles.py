"""Stand-ins for what a scan depends on."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from scanner.catalogue import PlatformImage
from scanner.domain.failure import ScanFailure
from scanner.tools.protocol import DatabaseCondition, DatabaseState, Match, Sboms
from swell.errors import Unavailable
from swell.jobs.messages import ScanAffected, ScanDone, ScanJob
from swell.oci.digest import Digest
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal
from swell.store.scans import DatabaseInfo, Finding, ScanProblem
from swell.testing.images import make_image

BUILT = datetime(2026, 11, 23, 12, tzinfo=UTC)


class FakeTool:
    """Finds `findings` in every image that has packages; raises `failure` instead, if it is set."""

    name, family = "fake 1", "fake"

    def __init__(self, *findings: Finding, packages: int = 3) -> None:
        self.findings: tuple[Finding, ...] = findings
        self.packages = packages
        self.built = BUILT
        self.failure: ScanFailure | None = None
        self.catalogued: list[str] = []

    async def catalogue(self, layout: Path, name: str) -> Sboms:
        self.catalogued.append(name)
        return Sboms(native=b"sbom", spdx=b"spdx", cyclonedx=b"cyclonedx", packages=self.packages)

    def count_packages(self, sbom: bytes) -> int:
        return self.packages

    async def match(self, sbom: bytes) -> Match:
        if self.failure:
            raise self.failure
        return Match(findings=self.findings, report=b"report", database=DatabaseInfo(built=self.built))

    async def database(self) -> DatabaseState:
        return DatabaseState(condition=DatabaseCondition.GOOD, built=self.built)


class FakeImages:
    """Images of the platforms that are asked for; of two platforms, if none is."""

    def __init__(self) -> None:
        self.principals: list[Principal] = []
        self.failures: list[Exception] = []
        self.read: list[str] = []

    async def images(self, image: Reference, platforms: Sequence[str], principal: Principal) -> list[PlatformImage]:
        self.principals.append(principal)
        self.read.append(str(image))
        if self.failures:
            raise self.failures.pop(0)
        names = platforms or ("linux/amd64", "linux/arm64")
        return [PlatformImage(name, image, make_image(name, platform=name).manifest) for name in names]

    @asynccontextmanager
    async def layout(self, image: PlatformImage, principal: Principal) -> AsyncIterator[Path]:
        self.principals.append(principal)
        yield Path("layout")


class MemoryReports:
    """Reports by scan and digest."""

    def __init__(self) -> None:
        self.sboms: dict[tuple[str, Digest], Sboms] = {}
        self.matches: dict[tuple[str, Digest], Match] = {}
        self.logs: dict[str, str] = {}

    async def sbom(self, repository: str, manifest: Digest) -> bytes | None:
        stored = self.sboms.get((repository, manifest))
        return stored.native if stored else None

    scanned_sbom = sbom

    async def put_sboms(self, repository: str, manifest: Digest, sboms: Sboms) -> None:
        self.sboms[repository, manifest] = sboms

    async def put_match(self, scan_id: str, manifest: Digest, match: Match) -> None:
        self.matches[scan_id, manifest] = match

    async def findings(self, scan_id: str, manifest: Digest) -> tuple[Finding, ...]:
        match = self.matches.get((scan_id, manifest))
        return match.findings if match else ()

    async def put_log(self, scan_id: str, text: str) -> None:
        self.logs[scan_id] = text


class FakeLeases:
    """Leases of one scanner; `taken` are those of another one."""

    def __init__(self) -> None:
        self.taken = set[str]()

    @asynccontextmanager
    async def hold(self, scan_id: str) -> AsyncIterator[None]:
        if scan_id in self.taken:
            raise Unavailable(f"another scanner works on {scan_id}")
        yield


class Published:
    """Jobs and events in their order; `queued` are the jobs in the queue."""

    def __init__(self) -> None:
        self.ended: list[ScanDone] = []
        self.changed: list[ScanAffected] = []
        self.jobs: list[str] = []
        self.queued = set[str]()

    async def done(self, event: ScanDone) -> None:
        self.ended.append(event)

    async def affected(self, event: ScanAffected) -> None:
        self.changed.append(event)

    async def put(self, job: ScanJob) -> None:
        self.jobs.append(job.id)

    async def has(self, scan_id: str) -> bool:
        return scan_id in self.queued


NO_DATABASE = ScanFailure(ScanProblem.DATABASE_MISSING, "Not scanned: this server has no vulnerability database.")
