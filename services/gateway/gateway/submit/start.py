"""Start the build of a request: find an existing image or build, else reserve, solve and enqueue a new build.

One image has one build, even if several gateways receive the same request at once.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.access.image_access import AccessCheck, ImageAccess
from gateway.domain.identity import Caller
from gateway.domain.repositories import Repositories
from gateway.domain.token import new_token
from gateway.submit.recipes.direct import DirectPackages
from gateway.submit.request import BuildRequest
from gateway.submit.spec import submission_of, target_reference
from swell.api.package_layers import PackageLayers
from swell.concurrency.single_flight import SingleFlight
from swell.errors import ManifestUnknown, PlatformUnsupported, SwellError, Unavailable, UpstreamFailed
from swell.oci.digest import Digest
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.principal import Principal, limited_to
from swell.store import keys
from swell.store.builds import Builds, CancelState
from swell.store.records import Build, BuildResult, Child, Submission

REGISTRY_RETRY_SECONDS = 5  # Retry-After while the registry of this server is unavailable, unless it sends its own
LEASE_TIMEOUT = timedelta(minutes=1)  # how long to wait for another gateway; longer than the solver takes


class Registry(Protocol):
    async def resolve(self, image: Reference, principal: Principal) -> Digest: ...


class Limits(Protocol):
    async def take_build(self, user: str, address: str) -> None:
        """Count a build; raises `TooManyRequests`."""

    async def return_build(self, user: str, address: str) -> None:
        """Reduce the count: no build was started."""


class Solver(Protocol):
    async def solve(self, packages: DirectPackages, platform: Platform) -> str:
        """Return the lock file of *packages*; raises `BadRequest` with an explanation if they cannot be installed."""


class Leases(Protocol):
    async def take(self, key: str, patience: timedelta) -> AbstractAsyncContextManager[None] | None:
        """Return a context that holds the lease *key*; None if it is still taken after *patience*."""


class WorkerCapabilities(Protocol):
    async def missing(self, platform: Platform) -> Sequence[str]:
        """What each builder lacks to run steps for *platform*, in words.

        Empty if a builder supports it, or if no builder is known at the moment.
        """


class StartResult(Struct, frozen=True, kw_only=True):
    """The image of a request: it exists, or the build `build_id` makes it.

    `cached` is None if the image needs no build. `clients` are the queues that have a new build.
    """

    image: Reference
    build_id: str | None = None
    cached: bool | None = None
    succeeded: bool | None = None
    clients: tuple[str, ...] = ()

    @property
    def is_build(self) -> bool:
        """Whether a build makes or has made the image, so that this server pushes it."""
        return self.cached is not None


class _Started(Struct, frozen=True, kw_only=True):
    """A running build, new or not; `build_id` is None if the image exists already."""

    submission: Submission
    build_id: str | None = None
    is_new: bool = False


class BuildStarter:
    """Starts builds; each caller may read every image that the build reads."""

    def __init__(
        self,
        repositories: Repositories,
        registry: Registry,
        builds: Builds,
        limits: Limits,
        solver: Solver,
        leases: Leases,
        capabilities: WorkerCapabilities,
        access: ImageAccess,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._repositories = repositories
        self._registry = registry
        self._builds = builds
        self._limits = limits
        self._solver = solver
        self._leases = leases
        self._capabilities = capabilities
        self._access = access
        self._single_flight: SingleFlight[tuple[str, str, str], _Started] = SingleFlight(kept=False)
        self._now = now

    async def start(self, request: BuildRequest, parts: Sequence[BuildRequest], caller: Caller) -> StartResult:
        """Return the image of *request*, or start its build; *parts* are the requests for each of several platforms.

        Raises:
            BadRequest: the build is impossible; nothing was started.
            PlatformUnsupported: no builder runs its steps; nothing was started.
            TooManyRequests: the request needs a build, and *caller* has reached the limit.
            Unavailable: the registry for builds is unavailable.
        """
        access = await self._access.check_recipe(caller.principal, request.base_images)
        access.raise_if_refused()
        caller = replace(caller, principal=access.principal)
        submission = submission_of(request, caller, self._now())
        latest = await self._builds.latest(submission.target_image)
        existing = await self.find_existing(request, submission, latest, access)
        if existing:
            return existing
        await self._check_platforms(request)
        image = target_reference(submission)
        if request.dry_run:
            return _dry_run_result(submission, exists=False)
        replaced = latest.id if latest else None
        if parts:
            return _result(image, await self._start_parts(parts, submission, replaced, caller))
        return _result(image, [await self._start_build(request, submission, replaced, caller)])

    async def find_existing(
        self, request: BuildRequest, submission: Submission, latest: Build | None, access: AccessCheck
    ) -> StartResult | None:
        """Return the running build of the image, or the image if the registry has it; *latest* is its newest build.

        Raises:
            BadRequest, ScopeRequired: the caller may not read an image that it was built from.
            Unavailable: the running build will fail, because it may read fewer images than the caller.
        """
        image = target_reference(submission)
        running = latest if latest is not None and latest.is_active else None
        if running and not request.dry_run:
            if not (access.is_unknown and running.submission.reads_public_only):
                access.raise_problem()
            await self._check_running(running, request, access.principal)
            return StartResult(image=image, build_id=running.id, cached=False)
        exists = await self._is_in_registry(image, access.principal)
        if not (exists or running):
            return None
        access.raise_problem()
        if request.dry_run:
            return _dry_run_result(submission, exists=exists)
        build_id = latest.id if latest and latest.result and latest.result.succeeded else None
        return StartResult(image=image, build_id=build_id, cached=True, succeeded=True)

    @asynccontextmanager
    async def reserve(
        self, submission: Submission, replaced: str | None, caller: Caller
    ) -> AsyncIterator["_Reservation"]:
        """Hold the lease of the image, and count one build for *caller* unless another gateway has started it.

        The count is returned if the block ends without a new build; *replaced* is the build that a new one replaces.

        Raises:
            TooManyRequests: *caller* has reached the limit.
            Unavailable: another gateway holds the lease for too long.
        """
        lease = await self._leases.take(keys.build_start(submission.target_image), LEASE_TIMEOUT)
        if lease is None:
            raise Unavailable(f"another gateway is still starting the build of {submission.target_image}; try again")
        async with lease:
            latest = await self._builds.latest(submission.target_image)
            if latest and latest.id != replaced:
                yield _Reservation(_Started(submission=submission, build_id=latest.id))
                return
            user, address = caller.identity.user, caller.address
            await self._limits.take_build(user, address)
            reservation = _Reservation()
            try:
                yield reservation
            finally:
                if not (reservation.started and reservation.started.is_new):
                    await self._limits.return_build(user, address)

    async def solve(self, submission: Submission, request: BuildRequest) -> Submission:
        """Return *submission* with the lock file of its packages: the builder installs exactly these."""
        if request.direct is None:
            return submission
        lock = await self._solver.solve(request.direct, request.platform)
        config = request.container_config if request.freeze else None
        packages = PackageLayers(base_image=request.direct.base_image, lock=lock, config=config)
        return replace(submission, packages=packages)

    async def enqueue(self, submission: Submission, replaced: str | None) -> _Started:
        """Store *submission* as a build in the queue of its client."""
        build_id, is_new = await self._builds.submit(submission, instead_of=replaced)
        return _Started(submission=submission, build_id=build_id, is_new=is_new)

    async def _start_build(
        self, request: BuildRequest, submission: Submission, replaced: str | None, caller: Caller
    ) -> _Started:
        """Start one build; simultaneous requests of one client share the result or the error."""

        async def start() -> _Started:
            async with self.reserve(submission, replaced, caller) as reservation:
                if reservation.started is None:
                    reservation.started = await self.enqueue(await self.solve(submission, request), replaced)
                return reservation.started

        key = submission.target_image, caller.identity.user, caller.address
        return await self._single_flight.run(key, start)

    async def _start_parts(
        self, parts: Sequence[BuildRequest], submission: Submission, replaced: str | None, caller: Caller
    ) -> list[_Started]:
        """Start the build of each platform, then the index of all; cancel what was started if one of them fails."""
        children = list[_Started]()
        try:
            for part in parts:
                children.append(await self._start_part(part, submission, caller))
            index = replace(submission, children=tuple(map(_child, children)))
            return [*children, await self.enqueue(index, replaced)]
        except SwellError:
            for build_id in (child.build_id for child in children if child.is_new and child.build_id):
                await self.withdraw(build_id, new_token(), caller)
            raise

    async def _start_part(self, part: BuildRequest, parent: Submission, caller: Caller) -> _Started:
        """Find or start the build of one platform; its tag is in the repository of *parent*."""
        submission = submission_of(part, caller, self._now(), parent=parent)
        latest = await self._builds.latest(submission.target_image)
        if latest and latest.is_active:
            return _Started(submission=submission, build_id=latest.id)
        if await self._is_in_registry(target_reference(submission), caller.principal):
            return _Started(submission=submission)
        return await self._start_build(part, submission, latest.id if latest else None, caller)

    async def withdraw(self, build_id: str, request_id: str, caller: Caller) -> None:
        """Cancel a build that was started for the failed request *request_id*, unless another one needs it by now.

        Raises:
            Unavailable: the store does not answer.
        """
        result = BuildResult.never_begun(self._now())
        await self._builds.add_interest(build_id, request_id, caller.identity.user)
        outcome = await self._builds.cancel(build_id, result, request_id=request_id, user="", all_requests=False)
        if outcome.state is CancelState.DEQUEUED:
            await self._limits.return_build(caller.identity.user, caller.address)

    async def _check_running(self, running: Build, request: BuildRequest, principal: Principal) -> None:
        """Check that the running build may read the images that *principal* may read.

        Raises:
            Unavailable: it may not, so it will fail; the caller can start another build then.
        """
        if running.submission.principal != principal:
            access = await self._access.check_recipe(running.submission.principal, request.base_images)
            if access.problem:
                message = f"the build {running.id} of another client may read fewer images and will fail; try again"
                raise Unavailable(message, retry_after=5)

    async def _check_platforms(self, request: BuildRequest) -> None:
        """Check that a builder supports each platform for which the build runs steps."""
        for platform in request.platforms if request.runs_steps else ():
            if missing := await self._capabilities.missing(platform):
                raise PlatformUnsupported(
                    f"no builder of this server can run steps for {platform}; what it lacks: {'; or '.join(missing)}"
                )

    async def _is_in_registry(self, image: Reference, principal: Principal) -> bool:
        try:
            await self._registry.resolve(image, limited_to([image.name], principal))
        except ManifestUnknown:
            return False
        except UpstreamFailed as error:
            if self._repositories.is_custom(image.name):
                raise
            message = f"the registry that builds are pushed to is unavailable: {error}"
            raise Unavailable(message, retry_after=error.retry_after or REGISTRY_RETRY_SECONDS) from error
        return True


class _Reservation:
    """The right to start one build; `started` is set if there is one."""

    def __init__(self, started: _Started | None = None) -> None:
        self.started = started


def _child(started: _Started) -> Child:
    submission = started.submission
    return Child(platform=submission.platform, target_image=submission.target_image, build_id=started.build_id)


def _result(image: Reference, started: Sequence[_Started]) -> StartResult:
    """The result of a new build; the last one of *started* makes *image*."""
    clients = tuple(dict.fromkeys(each.submission.client for each in started if each.is_new))
    return StartResult(image=image, build_id=started[-1].build_id, cached=False, clients=clients)


def _dry_run_result(submission: Submission, *, exists: bool) -> StartResult:
    """The result of a dry run: `cached` says whether the registry has the image."""
    build_id = f"{submission.container_id}_0"
    return StartResult(image=target_reference(submission), build_id=build_id, cached=exists, succeeded=True)
