"""Find the image of a request, or a running build of it."""

from typing import Protocol

from gateway.access.images.image_access import AccessCheck, ImageAccess
from gateway.domain.access.identity import Reader
from gateway.domain.repositories import Repositories
from gateway.submit.builds.start_result import StartResult
from gateway.submit.request import BuildRequest
from gateway.submit.spec import target_reference
from swell.errors import ManifestUnknown, Unavailable, UpstreamFailed
from swell.oci.digest import Digest
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal, limited_to
from swell.store.records import Build, Submission

REGISTRY_RETRY_SECONDS = 5  # Retry-After while the registry of this server is unavailable, unless it sends its own


class Registry(Protocol):
    async def resolve_complete(self, image: Reference, principal: Principal) -> Digest:
        """Return the digest that the registry has now; raises `ManifestUnknown` if it lacks a part of *image*."""


class ExistingImages:
    """Images of earlier builds, and builds that run now."""

    def __init__(self, repositories: Repositories, registry: Registry, access: ImageAccess) -> None:
        self._repositories = repositories
        self._registry = registry
        self._access = access

    async def find(
        self, request: BuildRequest, submission: Submission, latest: Build | None, access: AccessCheck
    ) -> StartResult | None:
        """Return the running build of the image, or the image if the registry has it; *latest* is its newest build.

        A request to rebuild gets a running build, which is as new as another one, but no existing image. What a mirror
        has stored under the name of the image does not count: no recipe of this server has made it.

        Raises:
            BadRequest, ScopeRequired: the caller may not read an image that it was built from.
            Unavailable: the running build will fail, because it may read fewer images than the caller.
        """
        if latest is not None and latest.submission.mirror:
            return None
        image = target_reference(submission)
        running = latest if latest is not None and latest.is_active else None
        if running:
            if not (access.is_unknown and running.submission.reads_public_only):
                access.raise_problem()
            await self._check_running(running, request, access.principal)
            return StartResult(image=image, build_id=running.id, cached=False)
        if request.rebuild or not await self.is_in_registry(image, access.principal):
            return None
        access.raise_problem()
        build_id = latest.id if latest and latest.result and latest.result.succeeded else None
        return StartResult(image=image, build_id=build_id, cached=True, succeeded=True)

    async def is_in_registry(self, image: Reference, principal: Principal) -> bool:
        """Return whether the registry has all of *image* now, read with the credentials of *principal*.

        Raises:
            UpstreamFailed, Unavailable: the registry does not respond.
        """
        try:
            await self._registry.resolve_complete(image, limited_to([image.name], principal))
        except ManifestUnknown:
            return False
        except UpstreamFailed as error:
            if self._repositories.is_custom(image.name):
                raise
            message = f"the registry that builds are pushed to is unavailable: {error}"
            raise Unavailable(message, retry_after=error.retry_after or REGISTRY_RETRY_SECONDS) from error
        return True

    async def _check_running(self, running: Build, request: BuildRequest, principal: Principal) -> None:
        """Check that the running build may read the images that *principal* may read.

        Raises:
            Unavailable: it may not, so it will fail; the caller can start another build then.
        """
        if running.submission.principal != principal:
            access = await self._access.check_recipe(Reader(running.submission.principal), request.base_images)
            if access.problem:
                message = f"the build {running.id} of another client may read fewer images and will fail; try again"
                raise Unavailable(message, retry_after=5)
