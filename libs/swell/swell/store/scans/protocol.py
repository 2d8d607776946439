"""What a store of scans does."""

from datetime import datetime, timedelta
from typing import Protocol

from swell.errors import TooManyRequests
from swell.store.scans.records import AffectedScan, Scan, ScanResult, ScanSubmission

WAITING_LIMIT = 100
"""The most scans of one client that have no result yet: all clients share one queue."""
AFFECTED_LIMIT = 1000
"""The most entries in the list of images that became affected; older ones are removed."""


class Scans(Protocol):
    """The records of scans.

    Raises:
        Unavailable: every method, when the store does not answer.
    """

    async def request(self, fingerprint: str, submission: ScanSubmission, client: str) -> tuple[str, bool]:
        """Return the id of a key's scan, and if it is new: *submission* is stored unless the key has a scan already.

        A failed scan does not count.
        *fingerprint* has 16 hexadecimal digits and becomes part of the id `sc-<fingerprint>_<number>`.

        Raises:
            TooManyRequests: the scan would be new, and too many scans of *client* have no result yet.
        """

    async def get(self, scan_id: str) -> Scan | None:
        """Return the scan; None when it is missing."""

    async def newest(self, fingerprint: str) -> int:
        """Return the highest number of a scan with *fingerprint* in its id; 0 without one."""

    async def latest(self, key: str) -> Scan | None:
        """Return the scan of *key* that has not failed; None when it is missing."""

    async def of_build(self, build_id: str) -> list[str]:
        """Return the ids of the scans that wait for the build *build_id*."""

    async def name(self, scan_id: str, key: str) -> None:
        """Make *scan_id* the scan of *key* as well, unless *key* has one."""

    async def finish(self, scan: Scan, result: ScanResult) -> ScanResult:
        """Store *result* unless the scan has one; return the stored result. The key of a failed scan becomes free."""

    async def replace(self, scan: Scan, result: ScanResult) -> None:
        """Store *result* instead of the one that the scan has, if it has not expired."""

    async def reopen(self, scan_id: str) -> None:
        """Remove the result of *scan_id*, because it runs again."""

    async def unfinished(self, age: timedelta) -> list[str]:
        """Return at most 100 scans without a result that are older than *age*."""

    async def forget(self, scan_id: str) -> None:
        """Remove *scan_id* from the list of unfinished scans."""

    async def matched_before(self, built: datetime, skip: int = 0) -> list[str]:
        """Return at most 100 scans that were matched with a database older than *built*, after the first *skip*."""

    async def add_affected(self, affected: AffectedScan) -> None:
        """Add an entry to the list of images that became affected."""

    async def affected(self) -> list[AffectedScan]:
        """Return the list of images that became affected, newest first."""


def too_many_wait(limit: int) -> TooManyRequests:
    return TooManyRequests(f"{limit} scans of yours have not ended yet; wait until some end", retry_after=30)
