"""Starting builds: one for an image, however many ask for it at once."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.access.image_access import AccessCheck, ImageAccess
from gateway.domain.identity import Caller
from gateway.domain.repositories import Repositories
from gateway.domain.token import new_token
from gateway.submit.recipes.direct import Direct
from gateway.submit.request import BuildRequest, images_of_request
from gateway.submit.spec import has_steps, image_of, submission
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

PUSH_RETRY = 5  # seconds after which to come again, when our own registry is away and does not say
PATIENCE = timedelta(minutes=1)  # for others who start the same build; longer than packages are solved


class Registry(Protocol):
    async def resolve(self, image: Reference, principal: Principal) -> Digest: ...


class Limits(Protocol):
    async def take_build(self, user: str, address: str) -> None:
        """Count a build; raises `TooManyRequests`."""

    async def return_build(self, user: str, address: str) -> None:
        """Give back what was counted: no build was started."""


class Solver(Protocol):
    async def solve(self, wanted: Direct, platform: Platform) -> str:
        """The lock file for *wanted*; raises `BadRequest` with an explanation when no packages fulfil it."""


class Leases(Protocol):
    async def take(self, key: str, patience: timedelta) -> AbstractAsyncContextManager[None] | None:
        """Have *key* alone in the block of what is answered; None when others have it after *patience* still."""


class WorkerCapabilities(Protocol):
    async def lacking(self, platform: Platform) -> Sequence[str]:
        """What each builder's machine would need to run steps for *platform*, in words; nothing when one of them does
        run them, or when no builder is known just now."""


class StartResult(Struct, frozen=True, kw_only=True):
    """What answers a request: an image that is there, or a build on its way.

    In the lines of *clients* there is something new.
    """

    image: Reference
    build_id: str | None = None
    cached: bool | None = None
    succeeded: bool | None = None
    clients: tuple[str, ...] = ()

    @property
    def is_build(self) -> bool:
        """Whether a build makes or has made the image, which this server has pushed."""
        return self.cached is not None


class BuildStarter:
    def __init__(
        self,
        places: Repositories,
        registry: Registry,
        builds: Builds,
        limits: Limits,
        solver: Solver,
        leases: Leases,
        machines: WorkerCapabilities,
        access: ImageAccess,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._places = places
        self._registry = registry
        self._builds = builds
        self._limits = limits
        self._solver = solver
        self._leases = leases
        self._machines = machines
        self._access = access
        self._under_way: SingleFlight[tuple[str, str, str], _Started] = SingleFlight(kept=False)
        self._now = now

    async def start(self, wanted: BuildRequest, parts: Sequence[BuildRequest], caller: Caller) -> StartResult:
        """See that the image of *wanted*, of one platform or of all its *parts*, is there, or is built.

        Raises:
            BadRequest: it cannot be built; nothing was started.
            PlatformUnsupported: no builder runs its steps; nothing was started.
            TooManyRequests: a build is needed, and this caller has had too many.
            Unavailable: the registry of builds does not answer.
        """
        checked = await self._checked(wanted, caller)
        caller = replace(caller, principal=checked.principal)
        submitted = submission(wanted, caller, self._now())
        image = image_of(submitted)
        latest = await self._builds.latest(submitted.target_image)
        running = latest is not None and latest.is_active
        exists = (not running or wanted.dry_run) and await self._is_in_registry(image, caller.principal)
        if running or exists:
            checked.must_be_readable()
        if wanted.dry_run:
            if not (exists or running):
                await self._check_platforms(wanted)
            return StartResult(image=image, build_id=f"{submitted.container_id}_0", cached=exists, succeeded=True)
        if exists:
            known = latest.id if latest and latest.result and latest.result.succeeded else None
            return StartResult(image=image, build_id=known, cached=True, succeeded=True)
        if running and latest:
            await self._see_that_it_can_succeed(latest, wanted, caller)
            return StartResult(image=image, build_id=latest.id, cached=False)
        await self._check_platforms(wanted)
        instead_of = latest.id if latest else None
        if parts:
            return _found(image, await self._start_all(parts, submitted, instead_of, caller))
        return _found(image, [await self._start(wanted, submitted, instead_of, caller)])

    async def _checked(self, wanted: BuildRequest, caller: Caller) -> AccessCheck:
        """Whether *caller* may read what *wanted* is built of; raises what certainly refuses that."""
        checked = await self._access.check_recipe(caller.principal, partial(images_of_request, wanted))
        return checked.unless_refused()

    async def _see_that_it_can_succeed(self, running: Build, wanted: BuildRequest, caller: Caller) -> None:
        """See that the build that runs for *wanted* may read what *caller* may.

        Raises:
            Unavailable: it may not, so it will fail; then there can be another.
        """
        theirs = running.submission.principal
        if theirs != caller.principal:
            checked = await self._access.check_recipe(theirs, partial(images_of_request, wanted))
            if checked.problem:
                raise Unavailable(
                    f"the build {running.id} runs for others, who may read less; ask again", retry_after=5
                )

    async def _check_platforms(self, wanted: BuildRequest) -> None:
        """See that somebody can build *wanted* for each of its platforms, as far as we know."""
        for platform in wanted.platforms if has_steps(wanted) else ():
            if lacking := await self._machines.lacking(platform):
                message = (
                    f"no builder of this server can run steps for {platform}; what it lacks: {'; or '.join(lacking)}"
                )
                raise PlatformUnsupported(message)

    async def _start_all(
        self, parts: Sequence[BuildRequest], submitted: Submission, instead_of: str | None, caller: Caller
    ) -> "list[_Started]":
        """Start what builds each of *parts*, and last what makes one image of them; or nothing, if one cannot be."""
        children = list[_Started]()
        try:
            for part in parts:
                children.append(await self._child(part, submitted, caller))
            whole = replace(submitted, children=tuple(_as_child(child) for child in children))
            return [*children, await self._register(whole, instead_of)]
        except SwellError:
            for build_id in (child.build_id for child in children if child.is_new and child.build_id):
                await self._call_off(build_id, caller)
            raise

    async def _call_off(self, build_id: str, caller: Caller) -> None:
        """Take back a build that was started just now, unless somebody else wants it by now."""
        wish, result = new_token(), BuildResult.never_begun(self._now())
        await self._builds.add_interest(build_id, wish, caller.identity.user)
        leaving = await self._builds.cancel(build_id, result, request_id=wish, user="", all_requests=False)
        if leaving.state is CancelState.DEQUEUED:
            await self._limits.return_build(caller.identity.user, caller.address)

    async def _child(self, part: BuildRequest, parent: Submission, caller: Caller) -> "_Started":
        """See that the image of one platform is there, or is built; it stands beside its *parent*."""
        submitted = submission(part, caller, self._now(), beside=parent)
        latest = await self._builds.latest(submitted.target_image)
        if latest and latest.is_active:
            return _Started(submission=submitted, build_id=latest.id)
        if await self._is_in_registry(image_of(submitted), caller.principal):
            return _Started(submission=submitted)
        return await self._start(part, submitted, latest.id if latest else None, caller)

    async def _start(
        self, wanted: BuildRequest, submitted: Submission, instead_of: str | None, caller: Caller
    ) -> "_Started":
        """Register a build; a client that asks for it several times at once has one answer, good or bad."""
        key = submitted.target_image, caller.identity.user, caller.address
        return await self._under_way.run(key, lambda: self._start_alone(wanted, submitted, instead_of, caller))

    async def _start_alone(
        self, wanted: BuildRequest, submitted: Submission, instead_of: str | None, caller: Caller
    ) -> "_Started":
        """Register a build, unless somebody else has in this moment; only a new one counts for *caller*."""
        held = await self._leases.take(keys.build_start(submitted.target_image), PATIENCE)
        if held is None:
            raise Unavailable(f"others start the build of {submitted.target_image}, and do not end; ask again")
        async with held:
            latest = await self._builds.latest(submitted.target_image)
            if latest and latest.id != instead_of:
                return _Started(submission=submitted, build_id=latest.id)
            who, is_new = (caller.identity.user, caller.address), False
            await self._limits.take_build(*who)
            try:
                started = await self._register(await self._solved(submitted, wanted), instead_of)
                is_new = started.is_new
            finally:
                if not is_new:
                    await self._limits.return_build(*who)
            return started

    async def _register(self, submitted: Submission, instead_of: str | None) -> "_Started":
        build_id, new = await self._builds.submit(submitted, instead_of=instead_of)
        return _Started(submission=submitted, build_id=build_id, is_new=new)

    async def _solved(self, submitted: Submission, wanted: BuildRequest) -> Submission:
        """*submitted* with exactly the packages that it gets, so that its build finds the same as we did."""
        if wanted.direct is None:
            return submitted
        lock = await self._solver.solve(wanted.direct, wanted.platform)
        config = wanted.container_config if wanted.freeze else None
        layers = PackageLayers(base_image=wanted.direct.base_image, lock=lock, config=config)
        return replace(submitted, packages=layers)

    async def _is_in_registry(self, image: Reference, principal: Principal) -> bool:
        try:
            await self._registry.resolve(image, limited_to([image.name], principal))
        except ManifestUnknown:
            return False
        except UpstreamFailed as error:
            if self._places.is_custom(image.name):
                raise
            message = f"the registry that builds are pushed to does not answer: {error}"
            raise Unavailable(message, retry_after=error.retry_after or PUSH_RETRY) from error
        return True


class _Started(Struct, frozen=True, kw_only=True):
    """A build that is under way, new or not; without an id its image is there already."""

    submission: Submission
    build_id: str | None = None
    is_new: bool = False


def _as_child(started: _Started) -> Child:
    submission = started.submission
    return Child(platform=submission.platform, target_image=submission.target_image, build_id=started.build_id)


def _found(image: Reference, started: Sequence[_Started]) -> StartResult:
    """The last of *started* makes *image*."""
    clients = tuple(dict.fromkeys(each.submission.client for each in started if each.is_new))
    return StartResult(image=image, build_id=started[-1].build_id, cached=False, clients=clients)
