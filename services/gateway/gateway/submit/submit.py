"""Answering a container request: a name that can be pulled at once, and the work behind it started."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from gateway.access.image_access import ImageAccess, refused
from gateway.domain.grant import Grant
from gateway.domain.identity import Caller
from gateway.domain.repositories import Repositories
from gateway.domain.token import new_token
from gateway.submit.answer import answer, legacy_answer, record
from gateway.submit.dispatch import Dispatcher
from gateway.submit.prepare import RequestPreparer
from gateway.submit.request import BuildRequest, images_of_request, images_read
from gateway.submit.start import BuildStarter, StartResult
from gateway.submit.validation import carries_data, read
from swell.api.containers import ContainerAnswer, ContainerLayer, ContainerRecord, ContainerRequest
from swell.errors import BadRequest, BlobUnknown, Denied, ManifestUnknown, Unavailable, UpstreamFailed
from swell.oci.digest import Digest
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.principal import Principal, limited_to
from swell.store.builds import Builds


class Requests(Protocol):
    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        """Keep what the token opens, and what is known of the request; both or neither."""


class Registry(Protocol):
    async def resolve(self, image: Reference, principal: Principal, platforms: Sequence[Platform] = ()) -> Digest:
        """The digest of *image*; raises `BadRequest` when it is not made for one of *platforms*."""

    async def keep(self, layer: ContainerLayer, principal: Principal) -> None:
        """Fetch *layer* from its location into the store, verified; *principal* reads those of images."""


class BlobKeeper(Protocol):
    async def keep(self, blobs: Mapping[str, bytes]) -> None:
        """Store each content under its digest; all are there when the call returns."""


class ServerConfig(Struct, frozen=True, kw_only=True):
    """What the gateway promises: under which address, where builds go, for how long a token opens its image.

    With `allows_missing_platforms`, images are given that are not made for the platform asked for.
    """

    server_url: str
    places: Repositories
    token_ttl: timedelta
    allows_missing_platforms: bool = False

    @property
    def authority(self) -> str:
        return urlsplit(self.server_url).netloc


class ContainerRequests:
    def __init__(
        self,
        plan: ServerConfig,
        requests: Requests,
        registry: Registry,
        builds: Builds,
        blobs: BlobKeeper,
        access: ImageAccess,
        preparing: RequestPreparer,
        starting: BuildStarter,
        releasing: Dispatcher,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._plan = plan
        self._requests = requests
        self._registry = registry
        self._builds = builds
        self._blobs = blobs
        self._access = access
        self._preparing = preparing
        self._starting = starting
        self._releasing = releasing
        self._now = now

    async def submit(self, request: ContainerRequest, caller: Caller, *, legacy: bool = False) -> ContainerAnswer:
        """Grant *caller* a token for what *request* asks for; *legacy* is the first version of the API.

        Raises:
            BadRequest: the message says what to change; nothing was started.
            ScopeRequired: *caller* may not push there, or may not read an image of ours.
            TooManyRequests: a build is needed, and this caller has had too many.
        """
        asked = await self._read(request, legacy=legacy)
        caller = await self._acting(asked, caller)
        if asked.image and asked.freeze and not self._plan.allows_missing_platforms:
            await self._registry.resolve(asked.image, caller.principal, asked.platforms)
        wanted = await self._preparing.prepare(asked, caller.principal)
        parts = [await self._preparing.prepare(part, caller.principal) for part in asked.parts]
        if not wanted.dry_run:
            for part in parts or (wanted,):
                await self._keep(part, caller.principal)
        found = (
            await self._serve(wanted, caller.principal)
            if wanted.image
            else await self._starting.start(wanted, parts, caller)
        )
        grant = self._grant(wanted, found, caller)
        await self._want(found, grant)
        kept = record(self._plan.authority, request, wanted, found.image, grant, new=found.cached is False)
        await self._requests.put(grant, kept)
        for client in found.clients:
            await self._releasing.release_for(client)
        made = answer(self._plan.authority, wanted, found.image, grant, cached=found.cached, succeeded=found.succeeded)
        return legacy_answer(made, grant) if legacy else made

    async def _acting(self, asked: BuildRequest, caller: Caller) -> Caller:
        """*caller* with the credentials that *asked* may be answered with."""
        builds = asked.freeze or not asked.image
        push = caller.push_principal
        if builds:
            push = self._access.pushing(push, asked.repository, asked.cache_repository)
        reading = await self._access.of_all(caller.principal, images_read(asked))
        if asked.containerfile:
            with suppress(BadRequest):  # where a name cannot be read, the build says so
                reading = await self._access.of_all(reading, images_of_request(asked))
        return replace(caller, principal=reading, push_principal=push)

    async def _read(self, request: ContainerRequest, *, legacy: bool) -> BuildRequest:
        """What *request* asks for; others are answered while its data is inflated and measured."""
        if carries_data(request):
            return await asyncio.to_thread(read, request, self._plan.places, legacy=legacy)
        return read(request, self._plan.places, legacy=legacy)

    async def _want(self, found: StartResult, grant: Grant) -> None:
        """Let the build under way be one that this request wants: it is not cancelled before the request says so."""
        if found.build_id is None or found.cached is not False:
            return
        if not await self._builds.add_interest(found.build_id, grant.token, grant.user):
            raise Unavailable(f"the build {found.build_id} is being cancelled in this moment; ask again")

    async def _keep(self, wanted: BuildRequest, principal: Principal) -> None:
        """Have in the store whatever the build will need from it, and the data that came along."""
        await self._blobs.keep(wanted.blobs)
        baked = (wanted.container_config.layers if wanted.freeze and wanted.container_config else None) or ()
        for layer in filter(None, (wanted.context, *baked)):
            if layer.location:
                await self._fetch(layer, principal)

    async def _fetch(self, layer: ContainerLayer, principal: Principal) -> None:
        try:
            await self._registry.keep(layer, principal)
        except BlobUnknown as error:
            raise BadRequest(f"there is nothing at the location {layer.location[:200]}: {error}") from error

    async def _serve(self, wanted: BuildRequest, principal: Principal) -> StartResult:
        image = wanted.image
        assert image  # noqa: S101  of the two, this one is set
        try:
            await self._registry.resolve(
                image, principal, () if self._plan.allows_missing_platforms else wanted.platforms
            )
        except ManifestUnknown as error:
            raise BadRequest(f"container image {image} does not exist or cannot be accessed: {error}") from error
        except Denied as error:
            raise refused(image, error) from error
        except UpstreamFailed as error:
            message = f"container image {image} cannot be looked at: {error}"
            raise type(error)(message, retry_after=error.retry_after) from error
        return StartResult(image=image, succeeded=True)

    def _grant(self, wanted: BuildRequest, found: StartResult, caller: Caller) -> Grant:
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
            principal=limited_to([found.image.name], caller.principal) if found.is_build else caller.principal,
        )
