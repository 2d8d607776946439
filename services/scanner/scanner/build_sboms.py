"""List the packages of built images whose packages no lock file lists; the builder attaches the SBOMs."""

import asyncio
from datetime import timedelta
from typing import Protocol

from scanner.catalogue import Catalogue
from scanner.domain.failure import ScanFailure
from swell.errors import Unavailable
from swell.jobs.messages import BuildDone, SbomStored
from swell.log import log
from swell.oci.digest import Digest
from swell.oci.reference import parse_reference
from swell.store.builds import BuildRecords
from swell.store.records import Build
from swell.store.scans import Scans

ORAS = "oras://"


class Locks(Protocol):
    async def lists_packages(self, build_id: str) -> bool:
        """Whether the build has a lock file that lists packages."""


class Events(Protocol):
    async def sbom_stored(self, event: SbomStored) -> None: ...


class BuildSboms:
    """Makes the SBOMs of builds, each within *time_limit*."""

    def __init__(
        self,
        catalogue: Catalogue,
        builds: BuildRecords,
        scans: Scans,
        locks: Locks,
        events: Events,
        time_limit: timedelta,
    ) -> None:
        self._catalogue = catalogue
        self._builds = builds
        self._scans = scans
        self._locks = locks
        self._events = events
        self._time_limit = time_limit.total_seconds()

    async def on_build_done(self, event: BuildDone, _delivery: int) -> None:
        """Store the SBOM of the image of *event*, and publish that; a repeated call finds the stored one.

        A build of several platforms has one build for each of them. Mirrors are not ours to describe. An image that is
        scanned gets its SBOM from the scan.

        Raises:
            Unavailable: a backend or the image's registry is unavailable; the event has to be delivered again.
        """
        build = await self._builds.get(event.id) if event.succeeded else None
        if build is None or build.submission.mirror or build.submission.children:
            return
        if await self._locks.lists_packages(build.id) or await self._scans.of_build(build.id):
            return
        limit = asyncio.timeout(self._time_limit)
        try:
            async with limit:
                await self._list_packages(build)
        except ScanFailure as failure:
            log.warning("packages of a build not listed", build_id=build.id, reason=str(failure))
        except TimeoutError as error:
            if not limit.expired():
                raise Unavailable("a backend does not answer") from error
            log.warning("packages of a build not listed", build_id=build.id, reason="the time limit of a scan")

    async def _list_packages(self, build: Build) -> None:
        submission, result = build.submission, build.result
        if result is None or result.digest is None:
            return
        target = parse_reference(submission.target_image.removeprefix(ORAS)).at(result.digest)
        platforms = (submission.platform,)
        with_packages = list[Digest]()
        for image in await self._catalogue.images(target, platforms, submission.push_principal):
            if (await self._catalogue.sbom(image, submission.push_principal)).packages:
                with_packages.append(image.manifest.digest)
        if with_packages:
            await self._events.sbom_stored(SbomStored(id=build.id, manifests=tuple(with_packages)))
        log.info("packages of a build listed", build_id=build.id, images=len(with_packages))
