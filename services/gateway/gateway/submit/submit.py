"""Handle a container request: validate it, start its build if it needs one, and grant a token for its image."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from gateway.access.images.image_access import ImageAccess
from gateway.access.shares import Shares
from gateway.domain.access.identity import Caller
from gateway.domain.grant import Grant
from gateway.domain.server_config import ServerConfig
from gateway.notices.queue import NO_NOTICES, Follow
from gateway.scans.request import ScanRequest, ScanRequests
from gateway.submit.answer import container_answer, container_record, legacy_answer
from gateway.submit.authorize import authorize, with_cache
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.builds.mirror import MirrorStarter
from gateway.submit.builds.start import BuildStarter
from gateway.submit.builds.start_result import StartResult
from gateway.submit.dry_run import existing_image, prepare
from gateway.submit.grants import grant_of, with_scan
from gateway.submit.images import LayerStore, Registry, RequestImages
from gateway.submit.prepare import RequestPreparer
from gateway.submit.request import BuildRequest
from gateway.submit.rules.mirror import MirrorTarget
from gateway.submit.rules.sizes import is_slow_to_validate
from gateway.submit.secrets import NO_STORED_SECRETS, StoredSecrets, with_secrets
from gateway.submit.validation import validate
from swell.api.containers import ContainerAnswer, ContainerRecord, ContainerRequest
from swell.concurrency.retry import retry_until_available
from swell.concurrency.tasks import TaskOwner
from swell.errors import SwellError, Unavailable
from swell.store.builds import Builds


class Grants(Protocol):
    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        """Store the grant and the record of the request in one transaction."""


SLOW_AT_ONCE = 2  # requests of one client that are inflated


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
        notices: Follow = NO_NOTICES,
        secrets: StoredSecrets = NO_STORED_SECRETS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        count_hit: Callable[[Grant], None] = lambda _: None,
    ) -> None:
        """*count_hit* is called for each request that gets an image which a build or a mirror has made before."""
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
        self._notices = notices
        self._secrets = secrets
        self._slow = Shares(SLOW_AT_ONCE)
        self._now = now
        self._count_hit = count_hit
        self._tasks = TaskOwner()

    async def submit(
        self, container_request: ContainerRequest, caller: Caller, *, legacy: bool = False
    ) -> ContainerAnswer:
        """Return a name that *caller* can pull, and start the build of its image if it needs one.

        *legacy* selects the first version of the API, `/container-token`.

        Raises:
            BadRequest: the message says what to change; no build was started.
            ScopeRequired: *caller* may not push to the repository, or not read an image of this server.
            TooManyRequests: the request needs a build, and *caller* has reached the limit.
        """
        policy = self._access.policy  # before it is checked: a newer one is checked at the pull
        request = with_cache(
            await self._validate(container_request, caller, legacy=legacy), caller, self._config.repositories
        )
        request = await with_secrets(request, caller.identity, self._secrets)
        caller = await authorize(request, caller, self._access)
        plan = await self._scans.plan(request, caller)
        await self._images.check_platforms(request, caller.principal)
        prepared, warnings = await prepare(self._preparer, request, caller.principal)
        parts = [await self._preparer.prepare(part, caller.principal) for part in request.parts]
        result = await self._start(prepared, parts, caller)
        grant = grant_of(
            prepared, result, caller, self._now(), self._config.token_ttl, self._config.lease_terms, policy
        )
        try:
            await self._add_interest(result, grant, caller)
            scan = await self._scans.find_or_create(plan, prepared, result, caller)
            if scan.is_new and scan.scan_id:
                await self._notices.follow(caller.identity, scan.scan_id)
            result, grant = with_scan(result, grant, plan.mode, prepared.scan_levels, scan)
            record = container_record(
                self._config.authority, container_request, prepared, result.image, grant, new=result.cached is False
            )
            await self._grants.put(grant, record)
        except SwellError:
            await self._withdraw(result, grant.token, caller)
            raise
        if result.cached and not grant.is_dry:
            self._count_hit(grant)
        await self._publish(result, scan)
        answer = container_answer(
            self._config.authority,
            prepared,
            result.image,
            grant,
            cached=result.cached,
            succeeded=result.succeeded,
            warnings=(*warnings, *result.warnings, *scan.warnings),
        )
        return legacy_answer(answer, grant) if legacy else answer

    async def _validate(self, container_request: ContainerRequest, caller: Caller, *, legacy: bool) -> BuildRequest:
        """Validate in a thread if the request has inline data to inflate: the event loop stays free.

        Inflating takes seconds, and there are few threads, so a client has two of them at most.
        """
        check = partial(
            validate,
            container_request,
            self._config.repositories,
            legacy=legacy,
            default_channels=self._config.conda_default_channels,
        )
        if not is_slow_to_validate(container_request):
            return check()
        async with self._slow.taken(caller):
            return await asyncio.to_thread(check)

    async def _start(self, request: BuildRequest, parts: Sequence[BuildRequest], caller: Caller) -> StartResult:
        """Store the layers of *request*; return its image, which exists or is made by a build or a mirror."""
        if not request.dry_run:
            for part in parts or (request,):
                await self._images.store_layers(part, caller.principal)
        if request.image and request.mirror:
            target = MirrorTarget(request.image, request.mirror)
            return await self._mirrors.start(target, caller, dry_run=request.dry_run)
        if request.image:
            return await existing_image(self._images, request.image, request, caller.principal)
        return await self._starter.start(request, parts, caller)

    async def _publish(self, result: StartResult, scan: ScanRequest) -> None:
        """Publish the jobs of the new builds and of the new scan."""
        for client in result.clients:
            await self._dispatcher.begin_for(client)
        await self._scans.publish(scan)

    async def _add_interest(self, result: StartResult, grant: Grant, caller: Caller) -> None:
        """Register the request's interest in its build: the build is not cancelled while a request needs it."""
        if result.build_id is None or result.cached is not False:
            return
        if not await self._builds.add_interest(result.build_id, grant.token, grant.user):
            raise Unavailable(f"the build {result.build_id} is being cancelled at this moment; try again")
        await self._notices.follow(caller.identity, result.build_id)

    async def _withdraw(self, result: StartResult, request_id: str, caller: Caller) -> None:
        """Cancel the new build of a request that fails; in the background if the store does not answer."""
        if result.build_id and result.clients:
            withdraw = partial(self._starter.withdraw, result.build_id, request_id, caller)
            task = self._tasks.start(retry_until_available(withdraw))
            await asyncio.wait({task}, timeout=1)
