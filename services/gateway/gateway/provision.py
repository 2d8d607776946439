"""Answering a container request: a name that can be pulled at once, and the work behind it started."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.domain.build_id import container_id
from gateway.domain.grant import Grant, image_name
from gateway.domain.token import new_token
from gateway.domain.wanted import Wanted, read
from swell.api.containers import ContainerAnswer, ContainerLayer, ContainerRequest
from swell.errors import BadRequest, Denied, ManifestUnknown
from swell.jobs.messages import BuildJob
from swell.oci.digest import Digest
from swell.oci.reference import Reference, parse_reference
from swell.store.builds import Builds
from swell.store.records import Submission

REAP_AFTER = timedelta(seconds=5)  # a submit publishes its job within this time, or its gateway is gone


class GrantKeeper(Protocol):
    async def put(self, grant: Grant) -> None: ...


class Registry(Protocol):
    async def resolve(self, image: Reference) -> Digest: ...

    async def keep(self, layer: ContainerLayer) -> None:
        """Fetch *layer* from its web address into the store, and see that it is what it claims to be."""


class Jobs(Protocol):
    async def put(self, job: BuildJob) -> None: ...


class BlobKeeper(Protocol):
    async def keep(self, blobs: Mapping[str, bytes]) -> None:
        """Store each content under its digest; all are there when the call returns."""


class Plan(Struct, frozen=True, kw_only=True):
    """What the gateway promises: where builds go, under which address, for how long."""

    server_url: str
    build_repository: str
    token_ttl: timedelta

    @property
    def authority(self) -> str:
        return urlsplit(self.server_url).netloc


class Provisioning:
    def __init__(
        self,
        plan: Plan,
        grants: GrantKeeper,
        registry: Registry,
        builds: Builds,
        jobs: Jobs,
        blobs: BlobKeeper,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._plan = plan
        self._grants = grants
        self._registry = registry
        self._builds = builds
        self._jobs = jobs
        self._blobs = blobs
        self._now = now

    async def submit(self, request: ContainerRequest) -> ContainerAnswer:
        """Grant a token for what *request* asks for.

        Raises:
            BadRequest: the message says what to change; nothing was started.
        """
        wanted = read(request)
        await self._blobs.keep(wanted.blobs)
        if wanted.image:
            await self._must_exist(wanted.image)
            return await self._grant(wanted, wanted.image, succeeded=True)
        if wanted.context and wanted.context.location:
            await self._registry.keep(wanted.context)
        return await self._build(wanted)

    async def _must_exist(self, image: Reference) -> None:
        try:
            await self._registry.resolve(image)
        except (ManifestUnknown, Denied) as error:
            raise BadRequest(f"container image {image} does not exist or cannot be accessed: {error}") from error

    async def _build(self, wanted: Wanted) -> ContainerAnswer:
        submission = self._submission(wanted)
        target = parse_reference(submission.target_image)
        latest = await self._builds.latest(submission.target_image)
        done = latest is None or latest.result is not None
        if done and await self._is_in_registry(target):
            build_id = latest.id if latest and latest.result and latest.result.succeeded else None
            return await self._grant(
                wanted, target, build_id=build_id, cached=True if build_id else None, succeeded=True
            )
        build_id, new = await self._builds.submit(submission, instead_of=latest.id if latest and done else None)
        answer = await self._grant(wanted, target, build_id=build_id, cached=False)
        if new:
            await self._publish(build_id, submission)
        return answer

    def _submission(self, wanted: Wanted) -> Submission:
        repository, platform = self._plan.build_repository, str(wanted.platform)
        name = container_id(
            containerfile=wanted.containerfile or "",
            platform=platform,
            repository=repository,
            context=wanted.context,
        )
        return Submission(
            container_id=name,
            target_image=f"{repository}:{name}",
            containerfile=wanted.containerfile or "",
            platform=platform,
            context=Digest(wanted.context.gzip_digest) if wanted.context and wanted.context.gzip_digest else None,
            created=self._now(),
        )

    async def _is_in_registry(self, image: Reference) -> bool:
        try:
            await self._registry.resolve(image)
        except ManifestUnknown:
            return False
        return True

    async def _grant(
        self,
        wanted: Wanted,
        image: Reference,
        *,
        build_id: str | None = None,
        cached: bool | None = None,
        succeeded: bool | None = None,
    ) -> ContainerAnswer:
        token, created = new_token(), self._now()
        grant = Grant(
            token=token,
            image=str(image),
            platform=str(wanted.platform),
            created=created,
            expires=created + self._plan.token_ttl,
            container_config=wanted.container_config,
            build_id=build_id,
        )
        await self._grants.put(grant)
        return ContainerAnswer(
            request_id=token,
            container_token=token,
            target_image=image_name(self._plan.authority, token, image),
            expiration=grant.expires,
            container_image=str(image),
            build_id=build_id,
            cached=cached,
            freeze=False,
            mirror=False,
            succeeded=succeeded,
        )

    async def _publish(self, build_id: str, submission: Submission) -> None:
        await self._jobs.put(
            BuildJob(
                id=build_id,
                target_image=submission.target_image,
                containerfile=submission.containerfile,
                platform=submission.platform,
                context=submission.context,
            )
        )
        await self._builds.published(build_id)

    async def reap(self) -> int:
        """Publish the jobs of builds whose gateway died between storing and publishing; answers how many."""
        orphans = await self._builds.unpublished(REAP_AFTER)
        for build_id in orphans:
            if build := await self._builds.get(build_id):
                await self._publish(build_id, build.submission)
            else:
                await self._builds.published(build_id)
        return len(orphans)
