"""Attach the SBOM of a scan to the image of its build, if the build has no lock file that lists its packages."""

import asyncio
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from builder.attest import ATTEMPT, Attester
from swell.errors import ManifestInvalid, ManifestUnknown, SwellError, Unavailable
from swell.jobs.messages import ScanDone
from swell.log import log
from swell.oci.digest import Digest
from swell.oci.reference import parse_reference
from swell.store.builds import BuildRecords
from swell.store.records import Build
from swell.store.scans import Scan

MAX_SBOM = 8 << 20
"""Bytes of an SBOM that is attached; a signed one is a third larger."""


class Scans(Protocol):
    async def get(self, scan_id: str) -> Scan | None: ...


class Sboms(Protocol):
    async def spdx(self, repository: str, manifest: Digest) -> bytes | None:
        """Return the SPDX document that the scanner has stored for an image; None if it is missing."""


class ScanAttester:
    """Attaches SBOMs with the key of *attester*. An attempt takes at most *timeout*."""

    def __init__(
        self, scans: Scans, builds: BuildRecords, sboms: Sboms, attester: Attester, timeout: timedelta = ATTEMPT
    ) -> None:
        self._scans = scans
        self._builds = builds
        self._sboms = sboms
        self._attester = attester
        self._timeout = timeout.total_seconds()

    async def on_scan_done(self, event: ScanDone, delivery: int) -> None:
        """Attach an SBOM to each platform's image of *event*; a repeated call attaches the same bytes again.

        A scan that has failed may have listed the packages, and not matched them.

        Raises:
            Unavailable: the registry or the store fails; the event has to be delivered again.
        """
        if not event.build_id:
            return
        scan, build = await self._scans.get(event.id), await self._builds.get(event.build_id)
        if scan is None or build is None or build.result is None or not build.result.succeeded:
            return
        try:
            async with asyncio.timeout(self._timeout):
                if not await self._attester.has_sbom(build.id):
                    await self._attach(scan, build)
        except (ManifestUnknown, ManifestInvalid) as error:
            log.warning("SBOM of a scan not attached", build_id=build.id, scan_id=scan.id, error=str(error))
        except (SwellError, TimeoutError) as error:
            reason = str(error) or "the registry is too slow"
            log.warning("SBOM not attached, trying again", build_id=build.id, attempt=delivery, error=reason)
            raise Unavailable(f"the SBOM of {build.id} is not attached: {reason}") from error

    async def _attach(self, scan: Scan, build: Build) -> None:
        repository = parse_reference(scan.submission.image).name
        for platform in scan.result.platforms if scan.result else ():
            content = await self._sboms.spdx(repository, platform.digest) if platform.packages else None
            if content is None:
                continue
            if len(content) > MAX_SBOM:
                raise ManifestInvalid(f"the SBOM has more than {MAX_SBOM} bytes")
            await self._attester.attach_sbom(build, platform.digest, await asyncio.to_thread(_decoded, content))
            log.info("SBOM attached", build_id=build.id, scan_id=scan.id, digest=platform.digest)


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ManifestInvalid(f"the SBOM cannot be read: {error}") from error
