"""Publish the jobs of scans: when the build that they wait for has ended, and when a job was lost."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

from scanner.scan import Events, done
from swell.jobs.messages import BuildDone, ScanDone, ScanJob
from swell.store.builds import BuildRecords
from swell.store.scans import Scan, ScanProblem, ScanResult, Scans

LOST_TIMEOUT = timedelta(minutes=1)
"""The job of an unfinished scan that is older must be in the queue, unless the scan waits for a build."""


class Jobs(Protocol):
    async def put(self, job: ScanJob) -> None: ...

    async def has(self, scan_id: str) -> bool:
        """Whether the job of *scan_id* is in the queue or in progress."""


class Dispatcher:
    def __init__(self, scans: Scans, builds: BuildRecords, jobs: Jobs, events: Events) -> None:
        self._scans = scans
        self._builds = builds
        self._jobs = jobs
        self._events = events

    async def build_done(self, event: BuildDone, _delivery: int) -> None:
        """Publish the jobs of the scans that wait for a build; end them if it failed."""
        for scan_id in await self._scans.of_build(event.id):
            if scan := await self._scans.get(scan_id):
                await self._continue(scan)

    async def republish_lost(self) -> int:
        """Publish lost jobs again; return how many."""
        count = 0
        for scan_id in await self._scans.unfinished(LOST_TIMEOUT):
            scan = await self._scans.get(scan_id)
            if scan is None or scan.result:
                await self._scans.forget(scan_id)
            elif not await self._jobs.has(scan_id) and await self._continue(scan):
                count += 1
        return count

    async def _continue(self, scan: Scan) -> bool:
        """Publish the job of *scan*, or end it if its build failed; return False if it still waits for its build."""
        if scan.result:
            return False
        submission = scan.submission
        if submission.build_id and not submission.digest:
            build = await self._builds.get(submission.build_id)
            if build and build.result is None:
                return False
            if build is None or build.result is None or not build.result.succeeded:
                await self._end(scan)
                return True
        await self._jobs.put(ScanJob(id=scan.id))
        return True

    async def _end(self, scan: Scan) -> None:
        now = datetime.now(UTC)
        message = f"The build {scan.submission.build_id} of the image did not succeed."
        result = ScanResult(started=now, finished=now, problem=ScanProblem.BUILD, message=message)
        recorded = await self._scans.finish(scan, result)
        event: ScanDone = done(scan, recorded)
        await self._events.done(event)
