"""The status of a container request with a scan.

Source: Wave's public API, "Container status", https://docs.seqera.io/wave/api
"""

from msgspec.structs import replace

from gateway.domain.grant import Grant
from gateway.scans.verdict import judge
from swell.api.builds import ContainerStatus, seconds
from swell.api.containers import ScanMode
from swell.errors import NotFound
from swell.store.scans import Scans


class ScanStatus:
    """Adds the scan to the status of a request."""

    def __init__(self, scans: Scans, server_url: str) -> None:
        self._scans = scans
        self._server_url = server_url

    async def of_build(self, build_id: str) -> str | None:
        """The id of the scan of the image that a build makes; None without one."""
        return next(iter(await self._scans.of_build(build_id)), None)

    async def add_to(self, status: ContainerStatus, grant: Grant) -> ContainerStatus:
        """Return *status* with the scan of *grant*; a required scan decides whether the request succeeded.

        Raises:
            NotFound: the scan is required, and its record has expired.
        """
        if grant.scan_id is None:
            return status
        status = replace(status, scan_id=grant.scan_id)
        if grant.scan_mode is not ScanMode.REQUIRED or not status.succeeded:
            return status
        scan = await self._scans.get(grant.scan_id)
        if scan is None:
            raise NotFound(f"the record of the scan {grant.scan_id} has expired")
        if scan.result is None:
            return replace(status, status="SCANNING", succeeded=None, duration=None)
        verdict = judge(scan.result, grant.scan_levels)
        return replace(
            status,
            succeeded=verdict.is_allowed,
            reason=verdict.reason or None,
            details_uri=f"{self._server_url}/view/scans/{scan.id}" if verdict.reason else None,
            vulnerabilities=dict(scan.result.counts) or None,
            duration=round((status.duration or 0.0) + seconds(scan.result.duration), 3),
        )
