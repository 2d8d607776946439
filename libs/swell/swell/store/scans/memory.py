"""The memory twin of `RedisScans`; records do not expire."""

from datetime import UTC, datetime, timedelta

from swell.store.scans.protocol import AFFECTED_LIMIT, WAITING_LIMIT, too_many_wait
from swell.store.scans.records import AffectedScan, Scan, ScanResult, ScanSubmission


class MemoryScans:
    """See `Scans` for the methods."""

    def __init__(self, waiting_limit: int = WAITING_LIMIT) -> None:
        self._waiting_limit = waiting_limit
        self._clients: dict[str, str] = {}
        self._submissions: dict[str, ScanSubmission] = {}
        self._results: dict[str, ScanResult] = {}
        self._latest: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._waiting: dict[str, set[str]] = {}
        self._unfinished: dict[str, datetime] = {}
        self._matched: dict[str, datetime] = {}
        self._affected: list[AffectedScan] = []

    async def request(self, fingerprint: str, submission: ScanSubmission, client: str) -> tuple[str, bool]:
        if current := self._latest.get(submission.key):
            return current, False
        if sum(self._clients.get(scan_id) == client for scan_id in self._unfinished) >= self._waiting_limit:
            raise too_many_wait(self._waiting_limit)
        number = self._numbers[fingerprint] = self._numbers.get(fingerprint, 0) + 1
        scan_id = f"sc-{fingerprint}_{number}"
        self._submissions[scan_id] = submission
        self._clients[scan_id] = client
        self._latest[submission.key] = scan_id
        self._unfinished[scan_id] = datetime.now(UTC)
        if submission.build_id and not submission.digest:
            self._waiting.setdefault(submission.build_id, set()).add(scan_id)
        return scan_id, True

    async def get(self, scan_id: str) -> Scan | None:
        if (submission := self._submissions.get(scan_id)) is None:
            return None
        return Scan(id=scan_id, submission=submission, result=self._results.get(scan_id))

    async def newest(self, fingerprint: str) -> int:
        return self._numbers.get(fingerprint, 0)

    async def latest(self, key: str) -> Scan | None:
        return await self.get(self._latest[key]) if key in self._latest else None

    async def of_build(self, build_id: str) -> list[str]:
        return sorted(self._waiting.get(build_id, ()))

    async def name(self, scan_id: str, key: str) -> None:
        self._latest.setdefault(key, scan_id)

    async def finish(self, scan: Scan, result: ScanResult) -> ScanResult:
        self._unfinished.pop(scan.id, None)
        if scan.id in self._results:
            return self._results[scan.id]
        self._results[scan.id] = result
        if result.succeeded:
            self._matched[scan.id] = _moment(result)
        elif self._latest.get(scan.submission.key) == scan.id:
            del self._latest[scan.submission.key]
        return result

    async def replace(self, scan: Scan, result: ScanResult) -> None:
        if scan.id in self._results:
            self._results[scan.id] = result
            self._matched[scan.id] = _moment(result)
        else:
            self._matched.pop(scan.id, None)

    async def reopen(self, scan_id: str) -> None:
        self._results.pop(scan_id, None)
        self._unfinished[scan_id] = datetime.now(UTC)

    async def unfinished(self, age: timedelta) -> list[str]:
        until = datetime.now(UTC) - age
        return [scan_id for scan_id, since in self._unfinished.items() if since <= until][:100]

    async def forget(self, scan_id: str) -> None:
        self._unfinished.pop(scan_id, None)
        self._matched.pop(scan_id, None)

    async def matched_before(self, built: datetime, skip: int = 0) -> list[str]:
        older = sorted((moment, scan_id) for scan_id, moment in self._matched.items() if moment < built)
        return [scan_id for _, scan_id in older[skip : skip + 100]]

    async def add_affected(self, affected: AffectedScan) -> None:
        self._affected = [affected, *self._affected][:AFFECTED_LIMIT]

    async def affected(self) -> list[AffectedScan]:
        return list(self._affected)


def _moment(result: ScanResult) -> datetime:
    return result.database.built if result.database else datetime.fromtimestamp(0, UTC)
