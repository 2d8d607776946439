"""Attach the SBOM that the scanner has made to the image of a build, if no lock file lists its packages."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from builder.attest.builds import ATTEMPT, ORAS, Attester
from swell.errors import ManifestInvalid, ManifestUnknown, SwellError, Unavailable
from swell.jobs.messages import SbomStored, ScanDone
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
        scan = await self._scans.get(event.id)
        if scan is None or scan.result is None:
            return
        manifests = [platform.digest for platform in scan.result.platforms if platform.packages]
        await self._attach(event.build_id, manifests, delivery)

    async def on_sbom_stored(self, event: SbomStored, delivery: int) -> None:
        """As `on_scan_done`, for an image that was not scanned."""
        await self._attach(event.id, event.manifests, delivery)

    async def _attach(self, build_id: str, manifests: Sequence[Digest], delivery: int) -> None:
        build = await self._builds.get(build_id)
        if build is None or build.result is None or not build.result.succeeded:
            return
        try:
            async with asyncio.timeout(self._timeout):
                if not await self._attester.has_sbom(build.id):
                    await self._attach_to(build, manifests)
        except (ManifestUnknown, ManifestInvalid) as error:
            log.warning("SBOM not attached", build_id=build.id, error=str(error))
        except (SwellError, TimeoutError) as error:
            reason = str(error) or "the registry is too slow"
            log.warning("SBOM not attached, trying again", build_id=build.id, attempt=delivery, error=reason)
            raise Unavailable(f"the SBOM of {build.id} is not attached: {reason}") from error

    async def _attach_to(self, build: Build, manifests: Sequence[Digest]) -> None:
        repository = parse_reference(build.submission.target_image.removeprefix(ORAS)).name
        for manifest in manifests:
            if (content := await self._sboms.spdx(repository, manifest)) is None:
                continue
            if len(content) > MAX_SBOM:
                raise ManifestInvalid(f"the SBOM has more than {MAX_SBOM} bytes")
            await self._attester.attach_sbom(build, manifest, await asyncio.to_thread(_decoded, content))
            log.info("SBOM attached", build_id=build.id, digest=manifest)


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ManifestInvalid(f"the SBOM cannot be read: {error}") from error
