"""Refuse pulls of images that their required scan does not allow; off by default."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

from cachetools import TTLCache

from gateway.domain.grant import Grant
from gateway.scans.verdict import judge
from swell.api.containers import ScanMode
from swell.concurrency.notifier import Notifier
from swell.concurrency.single_flight import SingleFlight
from swell.errors import ScanDenied, Unavailable
from swell.jobs.messages import ScanDone
from swell.store.scans import Scan, Scans

ALLOWED_SECONDS = 60.0  # a newer database may find more
SIZE = 10_000

Key = tuple[str, tuple[str, ...]]


class ScanGate:
    """Checks the required scans of tokens; a pull waits at most *timeout* for the end of its scan."""

    def __init__(
        self, scans: Scans, server_url: str, timeout: timedelta, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._scans = scans
        self._server_url = server_url
        self._timeout = timeout.total_seconds()
        self._notifier = Notifier()
        self._waits: SingleFlight[str, Scan | None] = SingleFlight()
        self._allowed: TTLCache[Key, None] = TTLCache(SIZE, ALLOWED_SECONDS, clock)

    def on_scan_done(self, event: ScanDone) -> None:
        """Let the pulls that wait for this scan read its result at once."""
        self._notifier.notify(event.id)

    async def check(self, grant: Grant) -> None:
        """Check that the scan of *grant*, if it is required, allows the image.

        Raises:
            ScanDenied: it does not, or its record has expired.
            Unavailable: the scan takes longer than a pull may wait, or the store does not answer.
        """
        if grant.scan_id is None or grant.scan_mode is not ScanMode.REQUIRED:
            return
        key = grant.scan_id, grant.scan_levels
        if key in self._allowed:
            return
        scan_id = grant.scan_id
        scan = await self._waits.run(scan_id, lambda: self._wait(scan_id))
        if scan is None or scan.result is None:
            raise ScanDenied(f"the record of the scan {scan_id} has expired; request the image again")
        verdict = judge(scan.result, grant.scan_levels)
        if not verdict.is_allowed:
            counts = ", ".join(f"{count} {severity}" for severity, count in scan.result.counts.items())
            found = f" ({counts})" if counts else ""
            page = f"{self._server_url}/v1alpha1/scans/{scan_id}"
            raise ScanDenied(f"{verdict.reason.rstrip('.')}{found}; the scan is at {page}")
        self._allowed[key] = None

    async def _wait(self, scan_id: str) -> Scan | None:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._notifier.wait_until(
                    scan_id, lambda: self._scans.get(scan_id), lambda scan: scan is None or scan.result is not None
                )
        except TimeoutError:
            raise Unavailable(f"the scan {scan_id} is still running", retry_after=10) from None
