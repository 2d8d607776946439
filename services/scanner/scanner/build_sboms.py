"""List the packages of built images whose packages no lock file lists; the builder attaches the SBOMs."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol

from scanner.catalogue import Catalogue
from scanner.domain.failure import ScanFailure
from swell.errors import Unavailable
from swell.jobs.messages import BuildDone, SbomStored, ScanDone
from swell.log import log
from swell.oci.digest import Digest
from swell.oci.reference import parse_reference
from swell.store.builds import BuildRecords
from swell.store.records import Build, Listing, ListingState
from swell.store.scans import ScanProblem, Scans

ORAS = "oras://"
MOST_REASON = 500  # characters
MOST_FAILURES = 5
"""Of the program that lists packages, for one image; a registry or a backend that fails does not count."""


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
        self._one = asyncio.Lock()  # scans of clients come first

    async def on_build_done(self, event: BuildDone, delivery: int) -> None:
        """Store the SBOM of the image of *event*, and publish that; a repeated call finds the stored one.

        A build of several platforms has one build for each of them. Mirrors are not ours to describe. An image that is
        scanned gets its SBOM from the scan.

        Raises:
            Unavailable: the program, a backend or the registry has failed; the event has to be delivered again.
        """
        build = await self._without_sbom(event.id) if event.succeeded else None
        if build is not None and not await self._scans.of_build(build.id):
            await self._attempt(build, delivery)

    async def on_scan_done(self, event: ScanDone, delivery: int) -> None:
        """As `on_build_done`, after a scan that has failed, perhaps before it has listed the packages.

        If earlier attempts were given up, this scan was another one. If it has succeeded, the image has its SBOM.
        """
        if event.build_id and event.succeeded:
            await self._builds.put_listing(event.build_id, None)
        build = await self._without_sbom(event.build_id) if event.build_id and not event.succeeded else None
        if build is None:
            return
        known = await self._builds.listing(build.id)
        if delivery > 1 or known is None or known.state is not ListingState.GIVEN_UP:
            await self._attempt(build, delivery)

    async def give_up(self, build_id: str, why: str) -> None:
        """Record that no further attempt follows; the dead letter can be replayed."""
        known = await self._builds.listing(build_id)
        last = f"; at last: {known.reason}" if known else ""
        attempts, failures = (known.attempts, known.failures) if known else (0, 0)
        await self._record(build_id, ListingState.GIVEN_UP, attempts, failures, f"its job {why}{last}")

    async def give_up_scan(self, scan_id: str, why: str) -> None:
        """As `give_up`, for the event of a scan."""
        if (scan := await self._scans.get(scan_id)) and scan.submission.build_id:
            await self.give_up(scan.submission.build_id, why)

    async def _without_sbom(self, build_id: str) -> Build | None:
        """The build, if its image gets an SBOM of its own and no lock file lists its packages."""
        build = await self._builds.get(build_id)
        if build is None or build.submission.mirror or build.submission.children:
            return None
        if build.result is None or not build.result.succeeded or await self._locks.lists_packages(build.id):
            return None
        return build

    async def _attempt(self, build: Build, delivery: int) -> None:
        known = await self._builds.listing(build.id)
        failures = known.failures if known else 0
        try:
            async with self._one:
                await self._list_within_limit(build)
        except ScanFailure as failure:
            is_last = failure.problem is ScanProblem.IMAGE or failures + 1 >= MOST_FAILURES
            state = ListingState.GIVEN_UP if is_last else ListingState.RETRYING
            await self._record(build.id, state, delivery, failures + 1, str(failure))
            if not is_last:
                raise Unavailable(f"the packages of {build.id} are not listed: {failure}") from failure
        except Unavailable as error:
            await self._record(build.id, ListingState.RETRYING, delivery, failures, str(error))
            raise
        else:
            if known:
                await self._builds.put_listing(build.id, None)

    async def _record(self, build_id: str, state: ListingState, attempts: int, failures: int, reason: str) -> None:
        log.warning("packages of a build not listed", build_id=build_id, state=state, attempt=attempts, reason=reason)
        now, text = datetime.now(UTC), reason[:MOST_REASON]
        listing = Listing(state=state, attempts=attempts, failures=failures, time=now, reason=text)
        await self._builds.put_listing(build_id, listing)

    async def _list_within_limit(self, build: Build) -> None:
        limit = asyncio.timeout(self._time_limit)
        try:
            async with limit:
                await self._list_packages(build)
        except TimeoutError as error:
            if not limit.expired():
                raise Unavailable("a backend does not answer") from error
            raise ScanFailure(ScanProblem.TIMED_OUT, "Listing the packages took longer than a scan may.") from error

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
