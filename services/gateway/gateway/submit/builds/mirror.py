"""Start a mirror: a copy of images, unchanged and with all platforms, into another registry.

Source: Wave's documentation, "Container mirroring", https://docs.seqera.io/wave/provisioning#container-mirroring
"""

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from gateway.access.images.image_access import ImageAccess
from gateway.access.images.image_errors import image_refused
from gateway.access.shares import Shares
from gateway.domain.access.identity import Caller, queue_of, reader_of
from gateway.domain.repositories import Repositories
from gateway.domain.token import new_token
from gateway.notices.queue import NO_NOTICES, Follow
from gateway.submit.builds.start import BuildStarter
from gateway.submit.builds.start_result import StartResult
from gateway.submit.rules.mirror import MirrorTarget, mirror_targets
from swell.api.mirrors import MirrorAnswer, MirroredImage, MirrorPlan, MirrorRequest, PlannedImage
from swell.concurrency.at_once import at_once
from swell.errors import BadRequest, Denied, ManifestUnknown, Unavailable, UpstreamFailed
from swell.log import traceparent
from swell.naming.image_name import ORAS
from swell.oci.digest import Digest
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import PUBLIC, Principal
from swell.store.builds import Builds
from swell.store.records import MIRROR_PREFIX, Build, MirrorImage, Submission

RESOLVED_AT_ONCE = 8
PLANNED_AT_ONCE = 2  # of one client; a builder makes four plans, each within 60 s


class Registry(Protocol):
    async def resolve_now(self, image: Reference, principal: Principal) -> Digest:
        """Return the digest that *image* has now; the answer is not cached."""


class Plans(Protocol):
    async def plan(self, images: Sequence[MirrorImage], principal: Principal, push_principal: Principal) -> MirrorPlan:
        """Return what the copies of *images* would send.

        Raises:
            Unavailable: no builder answers in time.
        """


class Dispatcher(Protocol):
    async def begin_for(self, client: str) -> None:
        """Publish the jobs of *client* that its share allows now."""


class MirrorStarter:
    """Starts mirrors: sources are read with the principal of the caller, targets with the caller's for pushes."""

    def __init__(
        self,
        repositories: Repositories,
        registry: Registry,
        builds: Builds,
        starter: BuildStarter,
        access: ImageAccess,
        plans: Plans,
        dispatcher: Dispatcher,
        notices: Follow = NO_NOTICES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._repositories = repositories
        self._registry = registry
        self._builds = builds
        self._starter = starter
        self._access = access
        self._plans = plans
        self._planning = Shares(PLANNED_AT_ONCE)
        self._dispatcher = dispatcher
        self._notices = notices
        self._now = now

    async def submit(self, request: MirrorRequest, caller: Caller) -> MirrorAnswer:
        """Start one job that copies all images of *request*, or return what it would send.

        Raises:
            BadRequest: a name is malformed, an image is missing or cannot be read, or two have the same target.
            ScopeRequired: *caller* may not push to the repository.
            TooManyRequests: *caller* has reached the limit.
        """
        targets = mirror_targets(request.images, request.build_repository, self._repositories)
        caller = await self._authorize(targets, caller)
        images = await self._resolve(targets, caller)
        described = [_described(image, is_cached) for image, is_cached in await self._compared(images, caller)]
        if request.dry_run:
            async with self._planning.taken(caller):
                plan = await self._plans.plan(images, caller.principal, caller.push_principal)
            described = [_planned(image, each) for image, each in zip(images, plan.images, strict=True)]
            missing = sum(each.missing for each in plan.images)
            return MirrorAnswer(images=tuple(described), cached=not missing, missing=missing)
        if all(each.cached for each in described):
            return MirrorAnswer(images=tuple(described), cached=True)
        mirror_id = await self._begin(images, caller)
        request_id = new_token()
        if not await self._builds.add_interest(mirror_id, request_id, caller.identity.user):
            raise Unavailable(f"the mirror {mirror_id} is being cancelled at this moment; try again")
        await self._notices.follow(caller.identity, mirror_id)
        await self._dispatcher.begin_for(queue_of(caller))
        return MirrorAnswer(mirror_id=mirror_id, request_id=request_id, images=tuple(described), cached=False)

    async def start(self, wanted: MirrorTarget, caller: Caller, *, dry_run: bool) -> StartResult:
        """Return the copy of one image if it has the digest of its source now, or start the mirror.

        *caller* has the principals that read the source and push the target.

        Raises:
            BadRequest: the image is missing, or cannot be read.
            TooManyRequests: *caller* has reached the limit.
        """
        images = await self._resolve([wanted], caller)
        [(image, is_cached)] = await self._compared(images, caller)
        if dry_run:
            dry_id = f"{_new_id()}_0"
            return StartResult(image=wanted.target, build_id=dry_id, cached=is_cached, succeeded=True)
        if is_cached:
            latest = await self._builds.latest(image.target)
            return StartResult(image=wanted.target, build_id=_made_by(latest, image), cached=True, succeeded=True)
        mirror_id = await self._begin(images, caller)
        return StartResult(image=wanted.target, build_id=mirror_id, cached=False, clients=(queue_of(caller),))

    async def _authorize(self, targets: Sequence[MirrorTarget], caller: Caller) -> Caller:
        """Return *caller* with the principals that read the sources and push the targets.

        Raises:
            ScopeRequired: *caller* may not push to the repository, or may not read an own image of this server.
        """
        caller.identity.check_images(image for each in targets for image in (each.source, each.target))
        rules = self._access.rules_for(caller.identity)
        rules.check_images(each.source for each in targets)
        await self._access.origins.check(rules, (each.source for each in targets))
        rules.check_targets(each.target for each in targets)
        names = (each.target.name for each in targets)
        push_principal = await self._access.push_principal(caller.push_principal, *names)
        sources = [each.source for each in targets]
        principal = await self._access.pull_principal_for_all(reader_of(caller), sources)
        return replace(caller, principal=principal, push_principal=push_principal)

    async def _resolve(self, targets: Sequence[MirrorTarget], caller: Caller) -> list[MirrorImage]:
        """Return the images with the digests of their sources, read with the credentials of *caller*.

        Raises:
            BadRequest: an image is missing, or *caller* may not read it.
        """

        async def resolve(each: MirrorTarget) -> MirrorImage:
            digest = await self._source_digest(each.source, caller.principal)
            return MirrorImage(source=str(each.source), target=str(each.target), digest=digest)

        return await at_once(RESOLVED_AT_ONCE, (partial(resolve, each) for each in targets))

    async def _source_digest(self, image: Reference, principal: Principal) -> Digest:
        try:
            return await self._registry.resolve_now(image, principal)
        except ManifestUnknown as error:
            raise BadRequest(f"container image {image} does not exist or cannot be accessed: {error}") from error
        except Denied as error:
            raise image_refused(image, error) from error

    async def _compared(self, images: Sequence[MirrorImage], caller: Caller) -> list[tuple[MirrorImage, bool]]:
        """Return each image with whether its target has the same digest now; unknown counts as no."""

        async def is_cached(image: MirrorImage) -> bool:
            try:
                target = parse_reference(image.target)
                return await self._registry.resolve_now(target, caller.push_principal) == image.digest
            except (ManifestUnknown, Denied, UpstreamFailed):
                return False  # the builder has other credentials and compares again

        results = await at_once(RESOLVED_AT_ONCE, (partial(is_cached, image) for image in images))
        return list(zip(images, results, strict=True))

    async def _begin(self, images: Sequence[MirrorImage], caller: Caller) -> str:
        """Return the id of a running mirror of the same images and principals, or of a new one."""
        submission = Submission(
            container_id=_new_id(),
            target_image=images[0].target,
            containerfile="",
            platform="",
            organisation=caller.identity.organisation,
            client=queue_of(caller),
            principal=caller.principal,
            push_principal=caller.push_principal,
            reads_public_only=caller.principal == PUBLIC,
            mirror=tuple(images),
            created=self._now(),
            traceparent=traceparent(),
        )
        await self._check_targets(images)
        latest = await self._builds.latest(submission.target_image)
        if latest and latest.is_active and _is_same(latest.submission, submission):
            return latest.id
        replaced = latest.id if latest else None
        async with self._starter.reserve(submission, replaced, caller) as reservation:
            if reservation.started is None:
                reservation.started = await self._starter.enqueue(submission, replaced)
        mirror = await self._builds.get(reservation.started.build_id or "")
        if mirror is None or not _is_same(mirror.submission, submission):
            raise Unavailable(f"another request is changing {submission.target_image} at this moment; try again")
        return mirror.id

    async def _check_targets(self, images: Sequence[MirrorImage]) -> None:
        """Check that no target is the image of a build: requests for that build would get the copy instead.

        Raises:
            BadRequest: a build has that target.
        """

        async def check(target: str) -> None:
            for name in (target, f"{ORAS}{target}"):
                if (latest := await self._builds.latest(name)) and not latest.submission.mirror:
                    raise BadRequest(
                        f"{target} is the image of the build {latest.id}, which a mirror does not replace; choose "
                        "another buildRepository"
                    )

        await at_once(RESOLVED_AT_ONCE, (partial(check, image.target) for image in images))


def _new_id() -> str:
    return f"{MIRROR_PREFIX}{secrets.token_hex(6)}"


def _is_same(running: Submission, submission: Submission) -> bool:
    """Whether *running* copies the same bytes, with credentials for the same repositories."""
    return (running.mirror, running.principal, running.push_principal) == (
        submission.mirror,
        submission.principal,
        submission.push_principal,
    )


def _made_by(latest: Build | None, image: MirrorImage) -> str | None:
    """The id of the last mirror to the target, if it has made this copy."""
    if latest is None or not latest.submission.mirror or not (latest.result and latest.result.succeeded):
        return None
    return latest.id if image in latest.submission.mirror else None


def _described(image: MirrorImage, is_cached: bool) -> MirroredImage:
    return MirroredImage(source_image=image.source, target_image=image.target, digest=image.digest, cached=is_cached)


def _planned(image: MirrorImage, plan: PlannedImage) -> MirroredImage:
    return MirroredImage(
        source_image=image.source,
        target_image=image.target,
        digest=plan.digest,
        cached=plan.cached,
        size=plan.size,
        missing=plan.missing,
        missing_blobs=plan.missing_blobs,
    )
