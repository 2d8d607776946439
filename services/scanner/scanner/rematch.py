"""Match stored SBOMs again when the vulnerability database has changed; no image is read."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from scanner.domain import findings as rules
from scanner.domain.failure import ScanFailure
from scanner.scan import Leases, Reports, ScanRunner
from scanner.tools.protocol import DatabaseCondition, Match, ScanTool
from swell.concurrency.notifier import wait_at_most
from swell.errors import Unavailable
from swell.jobs.messages import ScanAffected
from swell.log import log
from swell.oci.digest import Digest
from swell.store.scans import AffectedScan, Finding, Scan, Scans

_INTERVAL = timedelta(minutes=10)
_VULNERABILITIES = 100  # names in an event


class Events(Protocol):
    async def affected(self, event: ScanAffected) -> None: ...


class Rematcher:
    """Matches the scans again whose database is older than the current one, one at a time."""

    def __init__(
        self, tool: ScanTool, scans: Scans, reports: Reports, runner: ScanRunner, leases: Leases, events: Events
    ) -> None:
        self._tool = tool
        self._scans = scans
        self._reports = reports
        self._runner = runner
        self._leases = leases
        self._events = events
        self._changed = asyncio.Event()
        self._policy: str | None = None

    def database_changed(self) -> None:
        """Begin now instead of at the next interval."""
        self._changed.set()

    async def run(self) -> None:
        """Match again after each change of the database, and every ten minutes, until cancelled."""
        task = asyncio.current_task()
        while not (task and task.cancelling()):
            self._changed.clear()
            try:
                await self.rematch()
            except (Unavailable, ScanFailure) as error:
                log.warning("stored SBOMs not matched again", error=str(error))
            await wait_at_most(_INTERVAL.total_seconds(), self._changed)

    async def rematch(self) -> int:
        """Match all outdated scans again; return how many.

        Raises:
            ScanFailure: the tool or its database fails.
        """
        state = await self._tool.database()
        if state.condition is not DatabaseCondition.GOOD or state.built is None:
            return 0
        count, seen = 0, set[str]()
        while ids := [each for each in await self._scans.matched_before(state.built) if each not in seen]:
            count += sum([await self._try(scan_id) for scan_id in ids])
            seen.update(ids)
        count += await self._apply_policy(state.built)
        if count:
            log.info("stored SBOMs matched again", count=count, database=str(state.built))
        return count

    async def _apply_policy(self, built: datetime) -> int:
        """Match the scans again whose results another policy has judged; return how many."""
        if (revision := self._runner.policy_revision()) == self._policy:
            return 0
        count, skip = 0, 0
        while ids := await self._scans.matched_before(built + timedelta(seconds=1), skip):
            skip += len(ids)
            for scan_id in ids:
                scan = await self._scans.get(scan_id)
                if scan and scan.result and scan.result.policy != self._runner.revision_for(scan):
                    count += await self._try(scan_id)
        self._policy = revision
        return count

    async def _try(self, scan_id: str) -> int:
        """Match *scan_id* again; return 0 if another scanner holds it, or a backend is unavailable."""
        try:
            async with self._leases.hold(scan_id):
                await self._rematch(scan_id)
        except Unavailable as error:
            log.info("scan not matched again", scan_id=scan_id, error=str(error))
            return 0
        return 1

    async def _rematch(self, scan_id: str) -> None:
        scan = await self._scans.get(scan_id)
        if scan is None or scan.result is None or not scan.result.succeeded:
            await self._scans.forget(scan_id)
            return
        matches, before = list[Match](), list[tuple[Finding, ...]]()
        repository = scan.submission.read_image.name
        for platform in scan.result.platforms:
            sbom = await self._reports.scanned_sbom(repository, platform.digest)
            if sbom is None:
                log.info("stored SBOM is missing", scan_id=scan_id, digest=platform.digest)
                await self._scans.forget(scan_id)
                return
            before.append(await self._reports.findings(scan_id, platform.digest))
            matches.append(await self._runner.match(scan, platform.digest, sbom))
        await self._record(scan, before, matches)

    async def _record(self, scan: Scan, before: Sequence[Sequence[Finding]], matches: Sequence[Match]) -> None:
        assert scan.result is not None  # noqa: S101  (checked by the caller)
        platforms = scan.result.platforms
        result = self._runner.result(scan, scan.result.started, platforms, matches)
        result = replace(result, finished=scan.result.finished)
        new = [
            finding
            for known, match in zip(before, matches, strict=True)
            for finding in rules.added(map(rules.key_of, known), match.findings)
        ]
        if new:
            await self._announce(scan, new, matches[0], [platform.digest for platform in platforms])
        for platform, match in zip(platforms, matches, strict=True):
            await self._reports.put_match(scan.id, platform.digest, match)
        await self._scans.replace(scan, result)

    async def _announce(self, scan: Scan, new: Sequence[Finding], match: Match, digests: Sequence[Digest]) -> None:
        names = tuple(dict.fromkeys(finding.id for finding in rules.most_severe_first(new)))[:_VULNERABILITIES]
        digest = scan.submission.digest or (digests[0] if len(digests) == 1 else None)
        counts = rules.count(new)
        await self._scans.add_affected(
            AffectedScan(
                scan_id=scan.id,
                image=scan.submission.image,
                when=datetime.now(UTC),
                database=match.database,
                digest=digest,
                added=counts,
                vulnerabilities=names,
            )
        )
        event_id = f"{scan.id}-{int(match.database.built.timestamp())}"
        await self._events.affected(
            ScanAffected(
                id=event_id,
                scan_id=scan.id,
                image=scan.submission.image,
                digest=digest,
                added=counts,
                vulnerabilities=names,
            )
        )
