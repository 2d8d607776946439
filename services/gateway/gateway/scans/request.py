"""Request the scan of an image: find the one that exists, or start one when the image exists."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct

from gateway.domain.access.identity import Caller, queue_of
from gateway.submit.builds.start_result import StartResult
from gateway.submit.request import BuildRequest
from swell.api.containers import ScanMode
from swell.errors import NotSupported, SwellError, TooManyRequests
from swell.jobs.messages import ScanJob
from swell.log import log
from swell.naming.build_id import hash_of
from swell.oci.digest import Digest
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal, limited_to
from swell.store.builds import BuildRecords
from swell.store.scans import Scans, ScanSubmission
from swell.store.scans.records import build_key, image_key

NO_SCANNER = (
    "this server has no scanner: its operator installs one with `make scanners` and starts the scanner service again"
)
_DEFAULT_PLATFORMS = ("linux/amd64",)


class Registry(Protocol):
    async def resolve(self, image: Reference, principal: Principal) -> Digest: ...


class Scanners(Protocol):
    async def are_running(self) -> bool:
        """Whether at least one scanner consumes jobs."""


class Jobs(Protocol):
    async def put(self, job: ScanJob) -> None: ...


class Limits(Protocol):
    async def take_scan(self, user: str, address: str) -> None:
        """Count a scan; raises `TooManyRequests`."""

    async def return_scan(self, user: str, address: str) -> None:
        """Reduce the count: no scan was started."""


class ScanPlan(Struct, frozen=True):
    """Whether the image of a request is scanned, and the warnings for its client."""

    mode: ScanMode = ScanMode.NONE
    warnings: tuple[str, ...] = ()

    @property
    def is_needed(self) -> bool:
        return self.mode is not ScanMode.NONE


class ScanRequest(Struct, frozen=True):
    """The scan of a request: `scan_id` is None without one; the job of a new one has to be published.

    `digest` is that of the scanned image; None while a build or mirror makes it.
    """

    scan_id: str | None = None
    is_new: bool = False
    build_id: str | None = None
    warnings: tuple[str, ...] = ()
    digest: Digest | None = None


class ScanRequests:
    """Requests scans. With *scans_builds*, new builds are scanned unless their request says otherwise, as in Wave."""

    def __init__(
        self,
        scans: Scans,
        builds: BuildRecords,
        registry: Registry,
        scanners: Scanners,
        jobs: Jobs,
        limits: Limits,
        *,
        scans_builds: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._scans = scans
        self._builds = builds
        self._registry = registry
        self._scanners = scanners
        self._jobs = jobs
        self._limits = limits
        self._scans_builds = scans_builds
        self._now = now

    async def plan(self, request: BuildRequest, caller: Caller) -> ScanPlan:
        """Decide before anything is started whether the image of *request* is scanned, and count the scan.

        Without a scanner, or beyond the limit, `async` becomes a warning: a whole pipeline must not stop.

        Raises:
            NotSupported: the scan is required, and there is no scanner.
            TooManyRequests: the scan is required, and *caller* has reached the limit.
        """
        mode = request.scan_mode
        if mode is None:
            is_build = request.needs_build and not (request.sif or request.mirror or request.dry_run)
            if not (self._scans_builds and is_build and await self._scanners.are_running()):
                return ScanPlan()
            mode = ScanMode.ASYNC
        if mode is ScanMode.NONE or request.dry_run:
            return ScanPlan()
        if not await self._scanners.are_running():
            if mode is ScanMode.REQUIRED:
                raise NotSupported(f"scanMode required: {NO_SCANNER}")
            return ScanPlan(warnings=(f"The image is not scanned: {NO_SCANNER}.",))
        try:
            await self._limits.take_scan(caller.identity.user, caller.address)
        except TooManyRequests as error:
            if mode is ScanMode.REQUIRED:
                raise
            return ScanPlan(warnings=(f"The image is not scanned: {error}.",))
        return ScanPlan(mode)

    async def find_or_create(
        self, plan: ScanPlan, request: BuildRequest, result: StartResult, caller: Caller
    ) -> ScanRequest:
        """Return the scan of the image *result*, a new one if it has none that has not failed.

        Raises:
            Unavailable: the store does not answer; or, if the scan is required, the registry.
            TooManyRequests: the scan is required, and too many scans of *caller* have not ended yet.
        """
        if not plan.is_needed:
            return ScanRequest(warnings=plan.warnings)
        try:
            submission, fingerprint = await self._submission(request, result, caller)
            scan_id, is_new = await self._scans.request(fingerprint, submission, queue_of(caller))
        except SwellError as error:
            await self._limits.return_scan(caller.identity.user, caller.address)
            if plan.mode is ScanMode.REQUIRED:
                raise
            log.warning("scan not requested", image=str(result.image), error=str(error))
            return ScanRequest(warnings=(f"The image is not scanned: {error}.",))
        if not is_new:
            await self._limits.return_scan(caller.identity.user, caller.address)
        waits_for = submission.build_id if submission.digest is None else None
        return ScanRequest(scan_id, is_new, waits_for, digest=submission.digest)

    async def publish(self, scan: ScanRequest) -> None:
        """Publish the job of a new scan, unless its build runs: the scanner publishes it at the end of the build.

        If it fails, or this process crashes, the scanner publishes the job a minute later.
        """
        if not scan.is_new or scan.scan_id is None:
            return
        try:
            if scan.build_id:
                build = await self._builds.get(scan.build_id)
                if build and build.result is None:
                    return
            await self._jobs.put(ScanJob(id=scan.scan_id))
        except SwellError as error:
            log.warning("scan job not published", scan_id=scan.scan_id, error=str(error))

    async def _submission(
        self, request: BuildRequest, result: StartResult, caller: Caller
    ) -> tuple[ScanSubmission, str]:
        image = result.image
        is_built = result.is_build and not request.mirror
        source = request.image if request.mirror else None
        platforms = () if request.mirror else tuple(map(str, request.platforms))  # a mirror has all
        principal = limited_to([image.name], caller.principal) if is_built else caller.principal
        digest, organisation = None, caller.identity.organisation
        if result.build_id and result.cached is False:
            key = build_key(result.build_id, organisation)
        else:
            digest = await self._registry.resolve(source or image, principal)
            key = image_key((source or image).name, digest, platforms, organisation)
        submission = ScanSubmission(
            key=key,
            image=str(image),
            created=self._now(),
            platforms=platforms,
            digest=digest,
            build_id=result.build_id,
            mirror_id=result.build_id if request.mirror else None,
            organisation=organisation,
            principal=principal,
            source=str(source) if source else None,
        )
        mirror_id = submission.mirror_id if digest is None else None
        return submission, fingerprint(image, None if is_built else digest, platforms, mirror_id, organisation)


def fingerprint(
    image: Reference,
    digest: Digest | None,
    platforms: Sequence[str],
    mirror_id: str | None = None,
    organisation: str = "",
) -> str:
    """The 16 digits of a scan id: equal to Wave's for builds, and for images by their complete name and digest.

    Another platform than linux/amd64 is part of the id, unless a build makes the image: its name depends on it. A
    mirror that has not ended adds its random id: the name of a copy is easy to guess, and the id opens its SBOM. So is
    the organisation, whose policy judges the findings.
    """
    attributes: dict[str, str | None] = {"image": str(image)}
    if mirror_id:
        attributes["mirror"] = mirror_id
    if organisation:
        attributes["organisation"] = organisation
    if digest:
        attributes["digest"] = digest
        if tuple(platforms) != _DEFAULT_PLATFORMS:
            attributes["platform"] = ",".join(platforms)
    return hash_of(attributes)
