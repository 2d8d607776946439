"""Answering a container request: a name that can be pulled at once, and the work behind it started."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.answers import answer, legacy_answer, record
from gateway.domain.build_id import container_id
from gateway.domain.definition import translate
from gateway.domain.direct import Direct
from gateway.domain.grant import Grant
from gateway.domain.identity import Caller, line_of
from gateway.domain.naming import ORAS, image_name
from gateway.domain.token import new_token
from gateway.domain.wanted import Places, Wanted, carries_data, read
from gateway.prepare import Preparing
from swell.api.containers import ContainerAnswer, ContainerLayer, ContainerRecord, ContainerRequest, NameStrategy
from swell.api.package_layers import PackageLayers
from swell.errors import BadRequest, BlobUnknown, Denied, ManifestUnknown, TooManyRequests, Unavailable, UpstreamFailed
from swell.jobs.messages import BuildJob, IndexJob
from swell.oci.digest import Digest, parse_digest
from swell.oci.platform import Platform
from swell.oci.reference import Reference, parse_reference
from swell.store.builds import Builds
from swell.store.records import Build, Child, Submission

REAP_AFTER = timedelta(seconds=5)  # whoever releases a build publishes its job within this time, or its gateway is gone
LOST_AFTER = timedelta(minutes=1)  # a build released so long ago that has not ended must be in the queue
PUSH_RETRY = 5  # seconds after which to come again, when our own registry is away and does not say


class Limits(Protocol):
    async def take_build(self, user: str, address: str) -> None:
        """Count a build; raises `TooManyRequests`."""

    async def return_build(self, user: str, address: str) -> None:
        """Give back what was counted: no build was started."""


class Requests(Protocol):
    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        """Keep what the token opens, and what is known of the request; both or neither."""


class Registry(Protocol):
    async def resolve(self, image: Reference) -> Digest: ...

    async def keep(self, layer: ContainerLayer) -> None:
        """Fetch *layer* from its web address into the store, and see that it is what it claims to be."""


class Solver(Protocol):
    async def solve(self, wanted: Direct, platform: Platform) -> str:
        """The lock file for *wanted*; raises `BadRequest` with an explanation when no packages fulfil it."""


class Jobs(Protocol):
    async def put(self, job: BuildJob | IndexJob) -> None: ...

    async def has(self, build_id: str) -> bool:
        """Whether the job of *build_id* waits in the queue or is being done."""


class BlobKeeper(Protocol):
    async def keep(self, blobs: Mapping[str, bytes]) -> None:
        """Store each content under its digest; all are there when the call returns."""


class Plan(Struct, frozen=True, kw_only=True):
    """What the gateway promises: under which address, where builds go, for how long a token opens its image.

    A client may have `builds_at_once` builds under way.
    """

    server_url: str
    places: Places
    token_ttl: timedelta
    builds_at_once: int = 8

    @property
    def authority(self) -> str:
        return urlsplit(self.server_url).netloc


class Provisioning:
    def __init__(
        self,
        plan: Plan,
        requests: Requests,
        registry: Registry,
        builds: Builds,
        jobs: Jobs,
        blobs: BlobKeeper,
        preparing: Preparing,
        limits: Limits,
        solver: Solver,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._plan = plan
        self._requests = requests
        self._registry = registry
        self._builds = builds
        self._jobs = jobs
        self._blobs = blobs
        self._preparing = preparing
        self._limits = limits
        self._solver = solver
        self._now = now

    async def submit(self, request: ContainerRequest, caller: Caller, *, legacy: bool = False) -> ContainerAnswer:
        """Grant *caller* a token for what *request* asks for; *legacy* is the first version of the API.

        Raises:
            BadRequest: the message says what to change; nothing was started.
            TooManyRequests: a build is needed, and this caller has had too many.
        """
        asked = await self._read(request, legacy=legacy)
        wanted = await self._preparing.prepare(asked)
        parts = [await self._preparing.prepare(part) for part in asked.parts]
        if not wanted.dry_run:
            for part in parts or (wanted,):
                await self._keep(part)
        found = await self._serve(wanted) if wanted.image else await self._build(wanted, parts, caller)
        grant = self._grant(wanted, found, caller)
        await self._want(found, grant)
        kept = record(self._plan.authority, request, wanted, found.image, grant, new=found.cached is False)
        await self._requests.put(grant, kept)
        for client in dict.fromkeys(build.submission.client for build in found.to_publish):
            await self._release(client)
        made = answer(self._plan.authority, wanted, found.image, grant, cached=found.cached, succeeded=found.succeeded)
        return legacy_answer(made, grant) if legacy else made

    async def _read(self, request: ContainerRequest, *, legacy: bool) -> Wanted:
        """What *request* asks for; others are answered while its data is inflated and measured."""
        if carries_data(request):
            return await asyncio.to_thread(read, request, self._plan.places, legacy=legacy)
        return read(request, self._plan.places, legacy=legacy)

    async def _want(self, found: "_Found", grant: Grant) -> None:
        """Let the build under way be one that this request wants: it is not cancelled before the request says so."""
        if found.build_id is None or found.cached is not False:
            return
        if not await self._builds.want(found.build_id, grant.token, grant.user):
            raise Unavailable(f"the build {found.build_id} is being cancelled in this moment; ask again")

    async def _keep(self, wanted: Wanted) -> None:
        """Have in the store whatever the build will need from it, and the data that came along."""
        await self._blobs.keep(wanted.blobs)
        baked = (wanted.container_config.layers if wanted.freeze and wanted.container_config else None) or ()
        for layer in filter(None, (wanted.context, *baked)):
            if layer.location:
                await self._fetch(layer)

    async def _fetch(self, layer: ContainerLayer) -> None:
        try:
            await self._registry.keep(layer)
        except BlobUnknown as error:
            raise BadRequest(f"there is nothing at the location {layer.location[:200]}: {error}") from error

    async def _serve(self, wanted: Wanted) -> "_Found":
        image = wanted.image
        assert image  # noqa: S101  of the two, this one is set
        try:
            await self._registry.resolve(image)
        except (ManifestUnknown, Denied) as error:
            raise BadRequest(f"container image {image} does not exist or cannot be accessed: {error}") from error
        return _Found(image=image, succeeded=True)

    async def _build(self, wanted: Wanted, parts: Sequence[Wanted], caller: Caller) -> "_Found":
        submission = self._submission(wanted, caller)
        image = _image(submission)
        latest = await self._builds.latest(submission.target_image)
        running = latest is not None and latest.is_wanted
        if wanted.dry_run:
            exists = await self._is_in_registry(image)
            return _Found(image=image, build_id=f"{submission.container_id}_0", cached=exists, succeeded=True)
        if not running and await self._is_in_registry(image):
            known = latest.id if latest and latest.result and latest.result.succeeded else None
            return _Found(image=image, build_id=known, cached=True, succeeded=True)
        if running and latest:
            return _Found(image=image, build_id=latest.id, cached=False)
        instead_of = latest.id if latest else None
        if not parts:
            return _found(image, [await self._start(wanted, submission, instead_of, caller)])
        children = [await self._child(part, submission, caller) for part in parts]
        submission = replace(submission, children=tuple(_as_child(child) for child in children))
        return _found(image, [*children, await self._register(submission, instead_of)])

    async def _child(self, part: Wanted, parent: Submission, caller: Caller) -> "_Started":
        """See that the image of one platform is there, or is built; it stands beside its *parent*."""
        submission = self._submission(part, caller, beside=parent)
        latest = await self._builds.latest(submission.target_image)
        if latest and latest.is_wanted:
            return _Started(submission=submission, build_id=latest.id)
        if await self._is_in_registry(_image(submission)):
            return _Started(submission=submission)
        return await self._start(part, submission, latest.id if latest else None, caller)

    async def _start(
        self, wanted: Wanted, submission: Submission, instead_of: str | None, caller: Caller
    ) -> "_Started":
        """Register a build, unless somebody else has in this moment; only a new one counts for *caller*."""
        who, is_new = (caller.identity.user, caller.address), False
        try:
            await self._limits.take_build(*who)
        except TooManyRequests:
            latest = await self._builds.latest(submission.target_image)
            if latest is None or not latest.is_wanted:
                raise
            return _Started(submission=submission, build_id=latest.id)  # somebody took the last one for this build
        try:
            started = await self._register(await self._solved(submission, wanted), instead_of)
            is_new = started.is_new
        finally:
            if not is_new:
                await self._limits.return_build(*who)
        return started

    async def _register(self, submission: Submission, instead_of: str | None) -> "_Started":
        build_id, new = await self._builds.submit(submission, instead_of=instead_of)
        return _Started(submission=submission, build_id=build_id, is_new=new)

    async def _solved(self, submission: Submission, wanted: Wanted) -> Submission:
        """*submission* with exactly the packages that it gets, so that its build finds the same as we did."""
        if wanted.direct is None:
            return submission
        lock = await self._solver.solve(wanted.direct, wanted.platform)
        config = wanted.container_config if wanted.freeze else None
        layers = PackageLayers(base_image=wanted.direct.base_image, lock=lock, config=config)
        return replace(submission, packages=layers)

    def _submission(self, wanted: Wanted, caller: Caller, beside: Submission | None = None) -> Submission:
        """What is to be built, as it is kept; the image of one platform of several goes *beside* that of all."""
        config = wanted.container_config if wanted.freeze else None
        name = container_id(
            containerfile=wanted.containerfile or "",
            conda_file=wanted.environment,
            platform=wanted.platform_names,
            repository=wanted.repository,
            context=wanted.context,
            config=config,
        )
        if wanted.sif:
            translate(wanted.containerfile or "")  # refuses what cannot be built
        target_image = image_name(
            beside.target_image.rpartition(":")[0] if beside else wanted.repository,
            name,
            strategy=NameStrategy.TAG_PREFIX if beside else wanted.strategy,
            sif=wanted.sif,
            environment=wanted.environment,
        )
        return Submission(
            container_id=name,
            target_image=target_image,
            containerfile=wanted.containerfile or "",
            platform=wanted.platform_names,
            context=next(_digests(wanted.context), None),
            environment=wanted.environment,
            layers=tuple(_digests(*(config.layers or ()))) if config else (),
            cache_repository=wanted.cache_repository,
            compression=wanted.compression,
            organisation=caller.identity.organisation,
            sif=wanted.sif,
            template=wanted.template,
            client=line_of(caller),
            created=self._now(),
        )

    async def _is_in_registry(self, image: Reference) -> bool:
        try:
            await self._registry.resolve(image)
        except ManifestUnknown:
            return False
        except UpstreamFailed as error:
            if self._plan.places.is_custom(image.name):
                raise
            message = f"the registry that builds are pushed to does not answer: {error}"
            raise Unavailable(message, retry_after=error.retry_after or PUSH_RETRY) from error
        return True

    def _grant(self, wanted: Wanted, found: "_Found", caller: Caller) -> Grant:
        created = self._now()
        return Grant(
            token=new_token(),
            image=str(found.image),
            platform=wanted.platform_names,
            created=created,
            expires=created + self._plan.token_ttl,
            container_config=None if wanted.freeze else wanted.container_config,
            build_id=found.build_id,
            is_durable=wanted.freeze,
            is_dry=wanted.dry_run,
            user=caller.identity.user,
            organisation=caller.identity.organisation,
        )

    async def _release(self, client: str) -> None:
        """Publish what *client*'s share of the builds under way lets go."""
        for build_id in await self._builds.release(client, self._plan.builds_at_once):
            if build := await self._builds.get(build_id):
                await self._publish(build)

    async def _publish(self, build: Build) -> None:
        await self._jobs.put(_job(build))
        await self._builds.published(build.id)

    async def release(self) -> None:
        """Publish the builds that waited for others of their clients to end."""
        for client in await self._builds.waiting():
            await self._release(client)

    async def reap(self) -> int:
        """Publish the jobs of builds whose gateway died between releasing and publishing, and of those that the queue
        has lost; answers how many."""
        orphans = await self._builds.unpublished(REAP_AFTER)
        lost = [build_id for build_id in await self._builds.open(LOST_AFTER) if not await self._jobs.has(build_id)]
        reaped = dict.fromkeys(orphans + lost)
        for build_id in reaped:
            build = await self._builds.get(build_id)
            if build and not build.result:
                await self._publish(build)
            else:
                await self._builds.forget(build_id)
        return len(reaped)


def _digests(*layers: ContainerLayer | None) -> Iterator[Digest]:
    for layer in layers:
        if layer and layer.gzip_digest:
            yield parse_digest(layer.gzip_digest)


def _job(build: Build) -> BuildJob | IndexJob:
    submission = build.submission
    if submission.children:
        return IndexJob(
            id=build.id,
            target_image=submission.target_image,
            platform=submission.platform,
            organisation=submission.organisation,
        )
    made = translate(submission.containerfile) if submission.sif else None
    return BuildJob(
        id=build.id,
        target_image=submission.target_image,
        containerfile=made.containerfile if made else submission.containerfile,
        platform=submission.platform,
        context=submission.context,
        environment=submission.environment,
        layers=submission.layers,
        packages=submission.packages,
        cache_repository=submission.cache_repository,
        compression=submission.compression,
        organisation=submission.organisation,
        sif=made.definition if made else None,
    )


def _image(submission: Submission) -> Reference:
    return parse_reference(submission.target_image.removeprefix(ORAS))


class _Started(Struct, frozen=True, kw_only=True):
    """A build that is under way, new or not; without an id its image is there already."""

    submission: Submission
    build_id: str | None = None
    is_new: bool = False


def _as_child(started: _Started) -> Child:
    submission = started.submission
    return Child(platform=submission.platform, target_image=submission.target_image, build_id=started.build_id)


def _found(image: Reference, started: Sequence[_Started]) -> "_Found":
    """The last of *started* makes *image*."""
    new = tuple(
        Build(id=each.build_id, submission=each.submission) for each in started if each.build_id and each.is_new
    )
    return _Found(image=image, build_id=started[-1].build_id, cached=False, to_publish=new)


class _Found(Struct, frozen=True, kw_only=True):
    """What answers a request: an image that is there, or a build on its way."""

    image: Reference
    build_id: str | None = None
    cached: bool | None = None
    succeeded: bool | None = None
    to_publish: tuple[Build, ...] = ()
