"""Queries about scans: records, SBOMs, reports and logs."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

import msgspec

from gateway.scans.vex import openvex
from swell.api.builds import seconds
from swell.api.scans import AffectedList, AffectedRecord, PlatformRecord, ScanRecord, VulnerabilityRecord
from swell.errors import NotFound, TooLarge
from swell.oci.digest import Digest
from swell.oci.reference import parse_reference
from swell.store.reports import SbomFormat, earlier_sbom_key, findings_key, log_key, report_key, sbom_key
from swell.store.scans import AffectedScan, Finding, PlatformScan, Scan, ScanResult, Scans

MOST_LOGS = 10_000  # characters in a record
MOST_FINDINGS = 16 << 20  # bytes of the findings of all platforms in a document; it needs about ten times the memory
DOCUMENTS_AT_ONCE = 2
HISTORY = 20  # scans


class Reports(Protocol):
    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        """The object in pieces; None when it is missing."""


class ScanQueries:
    def __init__(self, scans: Scans, reports: Reports) -> None:
        self._scans = scans
        self._reports = reports
        self._documents = asyncio.Semaphore(DOCUMENTS_AT_ONCE)

    async def record(self, scan_id: str) -> ScanRecord:
        """The record of a scan; raises `NotFound`."""
        return record_of(await self._scan(scan_id))

    async def history(self, fingerprint: str) -> tuple[ScanRecord, ...]:
        """The scans with the ids `sc-<fingerprint>_<number>`, newest first, at most 20."""
        newest = await self._scans.newest(fingerprint)
        ids = [f"sc-{fingerprint}_{number}" for number in range(newest, max(newest - HISTORY, 0), -1)]
        scans = await asyncio.gather(*map(self._scans.get, ids))
        return tuple(record_of(scan) for scan in scans if scan)

    async def log(self, scan_id: str) -> AsyncIterator[bytes]:
        """The log of a scan that has ended; raises `NotFound`."""
        await self._scan(scan_id)
        return await self._open(log_key(scan_id), f"no log of the scan {scan_id}")

    async def sbom(self, scan_id: str, form: SbomFormat, platform: str | None) -> AsyncIterator[bytes]:
        """The SBOM of one platform's image; raises `NotFound`."""
        scan = await self._scan(scan_id)
        digest, repository = self._digest(scan, platform), scan.submission.read_image.name
        if (pieces := await self._reports.open(sbom_key(repository, digest, form))) is not None:
            return pieces
        return await self._open(earlier_sbom_key(digest, form), f"no SBOM of the scan {scan_id}")

    async def report(self, scan_id: str, platform: str | None) -> AsyncIterator[bytes]:
        """The complete output of the scanner's program for one platform's image; raises `NotFound`."""
        digest = self._digest(await self._scan(scan_id), platform)
        return await self._open(report_key(scan_id, digest), f"no report of the scan {scan_id}")

    async def vex(self, scan_id: str) -> bytes:
        """All findings as an OpenVEX document.

        Raises:
            NotFound: the scan is unknown, has not ended, or has failed.
            TooLarge: they have more than 16 MiB.
        """
        scan = await self._scan(scan_id)
        if scan.result is None or not scan.result.succeeded:
            raise NotFound(f"the scan {scan_id} has not succeeded, so its findings are not known")
        async with self._documents:
            contents = await self._findings(scan_id, [scanned.digest for scanned in scan.result.platforms])
            return await asyncio.to_thread(_vex, scan, contents)

    async def _findings(self, scan_id: str, manifests: Iterable[Digest]) -> list[tuple[Digest, bytes]]:
        """Return the stored findings of each manifest."""
        contents, left = list[tuple[Digest, bytes]](), MOST_FINDINGS
        for manifest in manifests:
            content = bytearray()
            async for piece in await self._open(findings_key(scan_id, manifest), f"no findings of the scan {scan_id}"):
                content += piece
                if len(content) > left:
                    raise TooLarge(
                        f"the findings of the scan {scan_id} have more than {MOST_FINDINGS} bytes; read its report"
                    )
            left -= len(content)
            contents.append((manifest, bytes(content)))
        return contents

    async def affected(self) -> AffectedList:
        """The images that newer databases affect, newest first."""
        return AffectedList(images=tuple(map(_affected, await self._scans.affected())))

    async def _scan(self, scan_id: str) -> Scan:
        if (scan := await self._scans.get(scan_id)) is None:
            raise NotFound(f"no scan {scan_id}")
        return scan

    async def _open(self, key: str, missing: str) -> AsyncIterator[bytes]:
        if (pieces := await self._reports.open(key)) is None:
            raise NotFound(missing)
        return pieces

    def _digest(self, scan: Scan, platform: str | None) -> Digest:
        """The manifest of *platform*, by default of the first one."""
        for scanned in scan.result.platforms if scan.result else ():
            if platform in {None, scanned.platform}:
                return scanned.digest
        suffix = f" for {platform[:80]}" if platform else ""
        raise NotFound(f"the scan {scan.id} has no SBOM{suffix}, or has not ended")


def _vex(scan: Scan, contents: Iterable[tuple[Digest, bytes]]) -> bytes:
    findings = (
        (manifest, finding)
        for manifest, content in contents
        for finding in msgspec.json.decode(content, type=list[Finding])
    )
    return msgspec.json.encode(openvex(scan, parse_reference(scan.submission.image), findings))


def record_of(scan: Scan) -> ScanRecord:
    """The public record of *scan*; it does not contain who requested it."""
    submission, result = scan.submission, scan.result
    record = ScanRecord(
        id=scan.id,
        build_id=None if submission.mirror_id else submission.build_id,
        mirror_id=submission.mirror_id,
        container_image=submission.image,
        platform=",".join(submission.platforms),
        start_time=submission.created,
        status="PENDING",
        digest=submission.digest,
    )
    return _with_result(record, result) if result else record


def _with_result(record: ScanRecord, result: ScanResult) -> ScanRecord:
    fields = {name: getattr(record, name) for name in ScanRecord.__struct_fields__}
    return ScanRecord(
        **fields
        | {
            "platform": ",".join(each.platform for each in result.platforms) or record.platform,
            "status": "SUCCEEDED" if result.succeeded else "FAILED",
            "duration": seconds(result.duration),
            "vulnerabilities": tuple(map(_vulnerability, result.findings)) if result.succeeded else (),
            "exit_code": result.exit_code,
            "logs": None if result.succeeded else result.message[:MOST_LOGS],
            "counts": dict(result.counts) if result.succeeded else None,
            "packages": result.packages if result.platforms else None,
            "platforms": tuple(map(_platform, result.platforms)),
            "tool": result.tool or None,
            "database_time": result.database.built if result.database else None,
            "matched_time": result.matched,
            "problem": result.problem,
            "message": result.message or None,
        }
    )


def _platform(scanned: PlatformScan) -> PlatformRecord:
    return PlatformRecord(
        platform=scanned.platform, digest=scanned.digest, packages=scanned.packages, counts=scanned.counts
    )


def _vulnerability(finding: Finding) -> VulnerabilityRecord:
    return VulnerabilityRecord(
        id=finding.id,
        severity=finding.severity,
        title=finding.title,
        pkg_name=finding.package,
        installed_version=finding.version,
        fixed_version=finding.fixed_version,
        primary_url=finding.url,
        rating=finding.rating if finding.rating.upper() != finding.severity else "",
        aliases=finding.aliases,
        package_type=finding.package_type,
        package_url=finding.package_url,
        platform=finding.platform,
        epss=finding.epss,
        exploited=finding.is_exploited,
        known_since=finding.known_since,
        waiver=finding.waiver,
    )


def _affected(affected: AffectedScan) -> AffectedRecord:
    return AffectedRecord(
        scan_id=affected.scan_id,
        container_image=affected.image,
        digest=affected.digest,
        time=affected.when,
        database_time=affected.database.built if affected.database else None,
        added=affected.added,
        vulnerabilities=affected.vulnerabilities,
    )
