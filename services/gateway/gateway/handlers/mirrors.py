"""`/v1alpha1/mirrors`: copies of images into other registries; their records, logs and cancellation."""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from gateway.access.accounts.accounts import Accounts
from gateway.access.read_access import ReadAccess
from gateway.audit.events import Action, Audit
from gateway.builds.cancel import Cancellations
from gateway.builds.log_events import LogEvents
from gateway.builds.mirrors import MirrorQueries
from gateway.domain.access.identity import Scope
from gateway.domain.access.record_access import Resource
from gateway.domain.platform import Login
from gateway.handlers.builds import cancel_build, event_response, started
from gateway.http.bodies import HttpRequest, read
from gateway.http.caller import Callers
from gateway.http.event_stream import accepts_events
from gateway.http.read_guard import reads
from gateway.submit.builds.mirror import MirrorStarter
from swell.api.builds import Cancellation
from swell.api.mirrors import MirrorAnswer, MirrorRecord, MirrorRequest
from swell.errors import BadRequest


class MirrorsController(Controller):
    path = "/v1alpha1/mirrors"

    @post(status_code=200, request_max_body_size=None)  # `read` enforces the limit
    async def submit(
        self,
        request: HttpRequest,
        mirrors: NamedDependency[MirrorStarter],
        callers: NamedDependency[Callers],
        read_access: NamedDependency[ReadAccess],
        audit: NamedDependency[Audit],
    ) -> MirrorAnswer:
        """Copy a list of images in one job."""
        mirror_request = await read(request, MirrorRequest)
        if not mirror_request.tower_access_token and not request.headers.get("authorization"):
            raise BadRequest("mirror needs a towerAccessToken: an access token whose owner may push to the repository")
        caller = await callers.identify(request.scope, login=Login.of(mirror_request))
        caller.identity.require(Scope.MIRROR)
        answer = await mirrors.submit(mirror_request, caller)
        if answer.mirror_id:
            whose = {"user": caller.identity.user, "organisation": caller.identity.organisation}
            audit.record(Action.MIRROR_REQUESTED, subject=answer.mirror_id, image=mirror_request.images[0], **whose)
        await read_access.record(caller.identity.user, caller.identity.organisation, answer.mirror_id)
        for secret in filter(None, (answer.mirror_id, answer.request_id)):
            callers.guess_limiter.remember(secret)
        return answer

    @get("/{mirror_id:str}", opt=reads(Resource.MIRROR))
    async def record(self, mirror_id: FromPath[str], mirror_queries: NamedDependency[MirrorQueries]) -> MirrorRecord:
        return await mirror_queries.record(mirror_id)

    @get("/{mirror_id:str}/logs", opt=reads(Resource.MIRROR_LOG))
    async def logs(
        self,
        request: HttpRequest,
        mirror_id: FromPath[str],
        mirror_queries: NamedDependency[MirrorQueries],
        log_events: NamedDependency[LogEvents],
    ) -> Response[Any]:
        pieces = await mirror_queries.log(mirror_id)
        if accepts_events(request) and not request.scope["state"].get("is_head"):
            return await event_response(request, mirror_id, log_events)
        headers = {"Vary": "Accept", "Content-Disposition": f'attachment; filename="{mirror_id}.log"'}
        return Stream(await started(pieces), media_type="text/plain", headers=headers)

    @post("/{mirror_id:str}/cancel", status_code=200, request_max_body_size=None)  # `read` limits the size
    async def cancel(
        self,
        request: HttpRequest,
        mirror_id: FromPath[str],
        cancellations: NamedDependency[Cancellations],
        callers: NamedDependency[Callers],
        accounts: NamedDependency[Accounts],
    ) -> Cancellation:
        return await cancel_build(request, mirror_id, cancellations, callers, accounts)
