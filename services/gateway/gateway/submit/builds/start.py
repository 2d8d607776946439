"""Start the build of a request: find an existing image or build, else reserve, solve and enqueue a new build.

One image has one build, even if several gateways receive the same request at once.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.access.images.image_access import ImageAccess
from gateway.access.shares import Shares
from gateway.domain.access.identity import Caller, reader_of
from gateway.domain.repositories import Repositories
from gateway.submit.builds.existing import ExistingImages, Registry
from gateway.submit.builds.multi_platform import MultiPlatformBuilds
from gateway.submit.builds.platforms import WorkerCapabilities, check_platforms
from gateway.submit.builds.same_inputs import check_same_inputs
from gateway.submit.builds.start_result import StartedBuild, StartResult, start_result
from gateway.submit.dry_run import DryRuns, Limits, Solver
from gateway.submit.request import BuildRequest
from gateway.submit.spec import submission_of, target_reference
from swell.api.package_layers import PackageLayers
from swell.concurrency.single_flight import SingleFlight
from swell.errors import Unavailable
from swell.oci.platform import Platform
from swell.recipes.direct import DirectPackages
from swell.store import keys
from swell.store.builds import Builds, CancelState
from swell.store.records import BuildResult, Submission

SOLVED_AT_ONCE = 1  # environments of one client; a builder solves two, each for up to SWELL_SOLVE_TIMEOUT
LEASE_TIMEOUT = timedelta(minutes=1)  # how long to wait for another gateway; longer than the solver takes


class Leases(Protocol):
    async def take(self, key: str, time_limit: timedelta) -> AbstractAsyncContextManager[None] | None:
        """Return a context that holds the lease *key*; None if it is still taken after *time_limit*."""


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
        self._existing = ExistingImages(repositories, registry, access)
        self._builds = builds
        self._limits = limits
        self._solver = solver
        self._solving = Shares(SOLVED_AT_ONCE)
        self._leases = leases
        self._check_platforms = partial(check_platforms, capabilities)
        self._access = access
        self._single_flight: SingleFlight[tuple[str, ...], StartedBuild] = SingleFlight(kept=False)
        self._multi_platform = MultiPlatformBuilds(
            self._existing,
            builds,
            start_build=self._start_build,
            enqueue=self.enqueue,
            withdraw=self.withdraw,
            now=now,
        )
        self._dry_runs = DryRuns(self._existing.is_in_registry, self._check_platforms, self._solve, limits)
        self._now = now

    async def start(self, request: BuildRequest, parts: Sequence[BuildRequest], caller: Caller) -> StartResult:
        """Return the image of *request*, or start its build; *parts* are the requests for each of several platforms.

        Raises:
            BadRequest: the build is impossible; nothing was started.
            PlatformUnsupported: no builder runs its steps; nothing was started.
            TooManyRequests: the request needs a build, and *caller* has reached the limit.
            Unavailable: the registry for builds is unavailable.
        """
        inputs = request.inputs if request.dry_run else request.base_images  # else its blobs have been fetched
        access = await self._access.check_recipe(reader_of(caller), inputs)
        access.raise_if_refused()
        caller = replace(caller, principal=access.principal)
        submission = submission_of(request, caller, self._now())
        latest = await self._builds.latest(submission.target_image)
        await check_same_inputs(self._builds, latest, submission)
        if request.dry_run:
            is_running = latest is not None and latest.is_active
            return await self._dry_runs.run(request, parts, submission, access, caller, is_running=is_running)
        if existing := await self._existing.find(request, submission, latest, access):
            return existing
        await self._check_platforms(request)
        image = target_reference(submission)
        replaced = latest.id if latest else None
        submission = replace(submission, is_repeated=latest is not None)
        if parts:
            return start_result(image, await self._multi_platform.start(parts, submission, replaced, caller))
        return start_result(image, [await self._start_build(request, submission, replaced, caller)])

    @asynccontextmanager
    async def reserve(
        self, submission: Submission, replaced: str | None, caller: Caller
    ) -> AsyncIterator["_Reservation"]:
        """Hold the lease of the image, and count one build for *caller* unless another gateway has started it.

        The count is returned if the block ends without a new build; *replaced* is the build that a new one replaces.

        Raises:
            BadRequest: the other gateway has started it with other inputs.
            TooManyRequests: *caller* has reached the limit.
            Unavailable: another gateway holds the lease for too long.
        """
        lease = await self._leases.take(keys.build_start(submission.target_image), LEASE_TIMEOUT)
        if lease is None:
            raise Unavailable(f"another gateway is still starting the build of {submission.target_image}; try again")
        async with lease:
            latest = await self._builds.latest(submission.target_image)
            if latest and latest.id != replaced:
                await check_same_inputs(self._builds, latest, submission)
                yield _Reservation(StartedBuild(submission=submission, build_id=latest.id))
                return
            user, address = caller.identity.user, caller.address
            await self._limits.take_build(user, address)
            reservation = _Reservation()
            try:
                yield reservation
            finally:
                if not (reservation.started and reservation.started.is_new):
                    await self._limits.return_build(user, address)

    async def solve(self, submission: Submission, request: BuildRequest, caller: Caller) -> Submission:
        """Return *submission* with the lock file of its packages: the builder installs exactly these."""
        if request.direct is None:
            return submission
        lock = await self._solve(request.direct, request.platform, caller)
        config = request.container_config if request.freeze else None
        packages = PackageLayers(base_image=request.direct.base_image, lock=lock, config=config)
        return replace(submission, packages=packages)

    async def _solve(self, packages: DirectPackages, platform: Platform, caller: Caller) -> str:
        """The lock file of *packages*; the environments of one client wait for each other."""
        async with self._solving.taken(caller):
            return await self._solver.solve(packages, platform)

    async def enqueue(self, submission: Submission, replaced: str | None) -> StartedBuild:
        """Store *submission* as a build in the queue of its client."""
        build_id, is_new = await self._builds.submit(submission, instead_of=replaced)
        return StartedBuild(submission=submission, build_id=build_id, is_new=is_new)

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

    async def _start_build(
        self, request: BuildRequest, submission: Submission, replaced: str | None, caller: Caller
    ) -> StartedBuild:
        """Start one build; simultaneous requests of one client share the result or the error."""

        async def start() -> StartedBuild:
            async with self.reserve(submission, replaced, caller) as reservation:
                if reservation.started is None:
                    reservation.started = await self.enqueue(await self.solve(submission, request, caller), replaced)
                return reservation.started

        key = submission.target_image, submission.fingerprint, caller.identity.user, caller.address
        return await self._single_flight.run(key, start)


class _Reservation(Struct):
    """The right to start one build; `started` is set if there is one."""

    started: StartedBuild | None = None
