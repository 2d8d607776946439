"""Download the SIF file of a build over plain HTTP, for clients that cannot read from registries."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from gateway.access.images.image_access import ImageAccess
from gateway.domain.access.identity import Caller, reader_of
from gateway.domain.grant import Grant
from gateway.domain.location import Location
from swell.errors import BuildFailed, NotFound, Unavailable
from swell.naming.image_name import ORAS
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import parse_reference
from swell.registry.credentials.principal import limited_to
from swell.store.builds import Builds
from swell.store.records import Build

_GRANT_LIFE = timedelta(hours=1)  # the registry-proxy caches the manifest for so long


class Images(Protocol):
    async def manifest(self, grant: Grant, reference: str) -> Document: ...

    async def locate(self, grant: Grant, digest: Digest) -> Location: ...


class Downloads:
    def __init__(
        self,
        builds: Builds,
        images: Images,
        access: ImageAccess,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._builds = builds
        self._images = images
        self._access = access
        self._now = now

    async def sif(self, build_id: str, caller: Caller) -> Location:
        """The location of the SIF file of *build_id*, for a *caller* who may read all that it was built from.

        Raises:
            NotFound: the build is unknown, or creates another format.
            BadRequest, ScopeRequired: *caller* may not read one of them.
            PolicyDenied: the rules for *caller* do not allow one of them.
            Unavailable: the build is running.
            BuildFailed: the build failed.
        """
        build = await self._builds.get(build_id)
        if build is None or not build.submission.sif:
            raise NotFound(f"no build {build_id} of a SIF file")
        if build.result is None:
            raise Unavailable(f"the build {build_id} is still running", retry_after=10)
        if build.result.digest is None:
            raise BuildFailed(f"the build {build_id} failed: {build.result.message}")
        (await self._access.check_build(reader_of(caller), build.submission)).raise_problem()
        image = parse_reference(build.submission.target_image.removeprefix(ORAS))
        rules = self._access.rules_for(caller.identity)
        await self._access.origins.check_build(rules, image, build.submission)
        grant = self._grant(build, build.result.digest)
        (layer,) = (await self._images.manifest(grant, build.result.digest)).layers
        return await self._images.locate(grant, layer.digest)

    def _grant(self, build: Build, digest: Digest) -> Grant:
        """A grant for the result of *build*, and for nothing else in its repository."""
        image = parse_reference(build.submission.target_image.removeprefix(ORAS)).at(digest)
        created = self._now()
        return Grant(
            token=build.id,
            image=str(image),
            platform=build.submission.platform,
            created=created,
            expires=created + _GRANT_LIFE,
            principal=limited_to([image.name], build.submission.push_principal),
        )
