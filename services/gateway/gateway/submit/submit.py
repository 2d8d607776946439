"""Handle a container request: validate it, start its build if it needs one, and grant a token for its image."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from gateway.access.image_access import ImageAccess
from gateway.access.secret_access import check_secrets
from gateway.domain.grant import Grant
from gateway.domain.identity import Caller
from gateway.domain.repositories import Repositories
from gateway.domain.token import new_token
from gateway.scans.request import ScanRequests
from gateway.submit.answer import container_answer, container_record, legacy_answer
from gateway.submit.dispatch import Dispatcher
from gateway.submit.images import LayerStore, Registry, RequestImages
from gateway.submit.mirror import MirrorStarter
from gateway.submit.prepare import RequestPreparer
from gateway.submit.request import BuildRequest
from gateway.submit.rules.mirror import MirrorTarget
from gateway.submit.start import BuildStarter
from gateway.submit.start_result import StartResult
from gateway.submit.validation import is_slow_to_validate, validate
from swell.api.containers import ContainerAnswer, ContainerRecord, ContainerRequest
from swell.concurrency.retry import retry_until_available
from swell.concurrency.tasks import TaskOwner
from swell.errors import BadRequest, SwellError, Unavailable
from swell.registry.principal import limited_to
from swell.store.builds import Builds


class Grants(Protocol):
    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        """Store the grant and the record of the request in one transaction."""


class ServerConfig(Struct, frozen=True, kw_only=True):
    """The public address of this server, its repositories, and the lifetime of its tokens.

    With `allows_missing_platforms`, the image of a request need not exist for the requested platform.
    `conda_default_channels` are what the Conda channel `defaults` stands for.
    """

    server_url: str
    repositories: Repositories
    token_ttl: timedelta
    allows_missing_platforms: bool = False
    conda_default_channels: tuple[str, ...] = ()

    @property
    def authority(self) -> str:
        """The host of the server's URL, with its port."""
        return urlsplit(self.server_url).netloc


class ContainerRequests:
    """The use case of `POST /v1alpha2/container`."""

    def __init__(
        self,
        config: ServerConfig,
        grants: Grants,
        registry: Registry,
        builds: Builds,
        layers: LayerStore,
        access: ImageAccess,
        mirrors: MirrorStarter,
        preparer: RequestPreparer,
        starter: BuildStarter,
        dispatcher: Dispatcher,
        scans: ScanRequests,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._grants = grants
        self._builds = builds
        self._images = RequestImages(registry, layers, allows_missing_platforms=config.allows_missing_platforms)
        self._access = access
        self._mirrors = mirrors
        self._preparer = preparer
        self._starter = starter
        self._dispatcher = dispatcher
        self._scans = scans
        self._now = now
        self._tasks = TaskOwner()

    async def submit(
        self, container_request: ContainerRequest, caller: Caller, *, legacy: bool = False
    ) -> ContainerAnswer:
        """Return a name that *caller* can pull, and start the build of its image if it needs one.

        *legacy* selects the first version of the API, `/container-token`.

        Raises:
            BadRequest: the message says what to change; no build was started.
            ScopeRequired: *caller* may not push to the repository, or may not read an image in a repository of this
                server.
            TooManyRequests: the request needs a build, and *caller* has reached the limit.
        """
        request = self._with_cache(await self._validate(container_request, legacy=legacy), caller)
        caller = await self._authorize(request, caller)
        plan = await self._scans.plan(request, caller)
        await self._images.check_platforms(request, caller.principal)
        prepared = await self._preparer.prepare(request, caller.principal)
        parts = [await self._preparer.prepare(part, caller.principal) for part in request.parts]
        if not prepared.dry_run:
            for part in parts or (prepared,):
                await self._images.store_layers(part, caller.principal)
        if prepared.image and prepared.mirror:
            target = MirrorTarget(prepared.image, prepared.mirror)
            result = await self._mirrors.start(target, caller, dry_run=prepared.dry_run)
        elif prepared.image:
            await self._images.check_exists(prepared.image, prepared, caller.principal)
            result = StartResult(image=prepared.image, succeeded=True)
        else:
            result = await self._starter.start(prepared, parts, caller)
        grant = self._grant(prepared, result, caller)
        is_new_build = result.cached is False
        try:
            await self._add_interest(result, grant)
            scan = await self._scans.find_or_create(plan, prepared, result, caller)
            if scan.scan_id:
                grant = replace(grant, scan_id=scan.scan_id, scan_mode=plan.mode, scan_levels=prepared.scan_levels)
            record = container_record(
                self._config.authority, container_request, prepared, result.image, grant, new=is_new_build
            )
            await self._grants.put(grant, record)
        except SwellError:
            await self._withdraw(result, grant.token, caller)
            raise
        for client in result.clients:
            await self._dispatcher.begin_for(client)
        await self._scans.publish(scan)
        answer = container_answer(
            self._config.authority,
            prepared,
            result.image,
            grant,
            cached=result.cached,
            succeeded=result.succeeded,
            warnings=scan.warnings,
        )
        return legacy_answer(answer, grant) if legacy else answer

    async def _validate(self, container_request: ContainerRequest, *, legacy: bool) -> BuildRequest:
        """Validate in a thread if the request has inline data to inflate: the event loop stays free."""
        check = partial(
            validate,
            container_request,
            self._config.repositories,
            legacy=legacy,
            default_channels=self._config.conda_default_channels,
        )
        return await asyncio.to_thread(check) if is_slow_to_validate(container_request) else check()

    def _with_cache(self, request: BuildRequest, caller: Caller) -> BuildRequest:
        """Return *request* with the cache of the caller's organisation instead of the server's."""
        repositories = self._config.repositories
        if request.cache_repository is None or request.cache_repository != repositories.cache:
            return request
        return replace(request, cache_repository=repositories.cache_of(caller.identity.organisation))

    async def _authorize(self, request: BuildRequest, caller: Caller) -> Caller:
        """Return *caller* with the principals that may read the images of *request* and push its result."""
        if request.options:
            check_secrets(request.options.build_secrets.values(), caller.identity)
        push_principal = caller.push_principal
        if request.mirror:
            push_principal = self._access.push_principal(push_principal, request.mirror.name)
        if request.needs_build:
            push_principal = self._access.push_principal(push_principal, request.repository, request.cache_repository)
        principal = await self._access.pull_principal_for_all(caller.principal, request.images_to_read())
        if request.containerfile:
            with suppress(BadRequest):  # the build reports a name that cannot be parsed
                principal = await self._access.pull_principal_for_all(principal, request.base_images())
        return replace(caller, principal=principal, push_principal=push_principal)

    async def _add_interest(self, result: StartResult, grant: Grant) -> None:
        """Register the request's interest in its build: the build is not cancelled while a request needs it."""
        if result.build_id is None or result.cached is not False:
            return
        if not await self._builds.add_interest(result.build_id, grant.token, grant.user):
            raise Unavailable(f"the build {result.build_id} is being cancelled at this moment; try again")

    async def _withdraw(self, result: StartResult, request_id: str, caller: Caller) -> None:
        """Cancel the new build of a request that fails; in the background if the store does not answer."""
        if result.build_id and result.clients:
            withdraw = partial(self._starter.withdraw, result.build_id, request_id, caller)
            task = self._tasks.start(retry_until_available(withdraw))
            await asyncio.wait({task}, timeout=1)

    def _grant(self, request: BuildRequest, result: StartResult, caller: Caller) -> Grant:
        created = self._now()
        is_own = result.is_build and not request.mirror  # this server has pushed the image
        return Grant(
            token=new_token(),
            image=str(result.image),
            platform=request.platform_names,
            created=created,
            expires=created + self._config.token_ttl,
            container_config=None if request.freeze else request.container_config,
            build_id=result.build_id,
            is_durable=request.is_durable,
            is_dry=request.dry_run,
            user=caller.identity.user,
            organisation=caller.identity.organisation,
            principal=limited_to([result.image.name], caller.principal) if is_own else caller.principal,
        )
