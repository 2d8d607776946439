"""Dry runs: the name of an image, and whether it exists. Nothing is built; packages of `conda/direct` are solved.

The name follows from the inputs alone. What needs a registry or the solver is left out with a warning if that is
unavailable.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from gateway.access.images.image_access import AccessCheck
from gateway.domain.access.identity import Caller
from gateway.submit.builds.start_result import StartResult
from gateway.submit.images import RequestImages
from gateway.submit.prepare import RequestPreparer
from gateway.submit.request import BuildRequest
from gateway.submit.spec import target_reference
from swell.errors import TooManyRequests, Unavailable, UpstreamFailed
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.recipes.direct import DirectPackages
from swell.registry.credentials.principal import Principal
from swell.store.records import Submission

NOT_NOW = (UpstreamFailed, Unavailable, TooManyRequests)
"""The errors of a server that is unavailable at the moment, or cannot be found."""


class Limits(Protocol):
    async def take_build(self, user: str, address: str) -> None:
        """Count a build; raises `TooManyRequests`."""

    async def return_build(self, user: str, address: str) -> None:
        """Reduce the count: no build was started."""


class Solver(Protocol):
    async def solve(self, packages: DirectPackages, platform: Platform) -> str:
        """Return the lock file of *packages*; raises `BadRequest` with an explanation if they cannot be installed."""


async def prepare(
    preparer: RequestPreparer, request: BuildRequest, principal: Principal
) -> tuple[BuildRequest, tuple[str, ...]]:
    """Return *request* prepared, with warnings: the name of a dry run without freeze needs no included images."""
    try:
        return await preparer.prepare(request, principal), ()
    except NOT_NOW as error:
        if not (request.dry_run and request.includes and not request.freeze):
            raise
        return replace(request, includes=()), (str(error),)


async def existing_image(
    images: RequestImages, image: Reference, request: BuildRequest, principal: Principal
) -> StartResult:
    """Return the result for *image*, which needs no build; a dry run does not need its registry."""
    try:
        await images.check_exists(image, request, principal)
    except NOT_NOW as error:
        if not request.dry_run:
            raise
        return StartResult(image=image, warnings=(str(error),))
    return StartResult(image=image, succeeded=True)


class DryRuns:
    def __init__(
        self,
        exists: Callable[[Reference, Principal], Awaitable[bool]],
        check_platforms: Callable[[BuildRequest], Awaitable[None]],
        solve: Callable[[DirectPackages, Platform, Caller], Awaitable[str]],
        limits: Limits,
    ) -> None:
        """*exists* says whether a registry has an image; *check_platforms* raises if no builder can run the steps."""
        self._exists = exists
        self._check_platforms = check_platforms
        self._solve_packages = solve
        self._limits = limits

    async def run(
        self,
        request: BuildRequest,
        parts: Sequence[BuildRequest],
        submission: Submission,
        access: AccessCheck,
        caller: Caller,
        *,
        is_running: bool,
    ) -> StartResult:
        """Return the result of a dry run of *request*; *is_running* means that a build of the image runs already.

        Raises:
            BadRequest, ScopeRequired: the build is impossible, or the caller may not read an image that it reads.
            PlatformUnsupported: no builder runs its steps.
            TooManyRequests: packages have to be solved, and *caller* has reached the limit of builds.
        """
        image, warnings = target_reference(submission), list[str]()
        exists = False if request.rebuild else await self._exists_for(image, access, warnings)
        if exists or is_running:
            if not access.is_unknown:
                access.raise_problem()
        else:
            await self._check_platforms(request)
            for part in parts or (request,):
                await self._solve(part, caller, warnings)
        return StartResult(
            image=image,
            build_id=f"{submission.container_id}_0",
            cached=exists,
            succeeded=True,
            warnings=tuple(warnings),
        )

    async def _exists_for(self, image: Reference, access: AccessCheck, warnings: list[str]) -> bool | None:
        """Whether *image* exists; None, with a warning, if that is unknown or must not be revealed yet."""
        try:
            exists = await self._exists(image, access.principal)
        except NOT_NOW as error:
            warnings.append(f"whether {image} exists is unknown: {error}")
            return None
        if access.is_unknown:
            warnings.append(
                f"whether {image} exists is not revealed, because a base image cannot be checked: {access.problem}"
            )
            return None
        return exists

    async def _solve(self, request: BuildRequest, caller: Caller, warnings: list[str]) -> None:
        """Solve the packages of *request*, which counts as a build meanwhile: the solver is shared by all clients."""
        if request.direct is None:
            return
        user, address = caller.identity.user, caller.address
        await self._limits.take_build(user, address)
        try:
            await self._solve_packages(request.direct, request.platform, caller)
        except (UpstreamFailed, Unavailable) as error:
            warnings.append(f"the packages are not solved: {error}")
        finally:
            await self._limits.return_build(user, address)
