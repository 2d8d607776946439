"""`/v1alpha1/builds`: records, status, logs, downloads and cancellation of builds."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Stream
from litestar.status_codes import HTTP_307_TEMPORARY_REDIRECT

from gateway.access.accounts.accounts import Accounts
from gateway.builds.cancel import Cancellations, CancelScope
from gateway.builds.download import Downloads
from gateway.builds.event_encoding import parse_position
from gateway.builds.log_events import LogEvents
from gateway.builds.of_user import BuildsOfUser
from gateway.builds.queries import BuildQueries
from gateway.builds.sboms import SbomQueries
from gateway.domain.access.identity import Scope
from gateway.domain.access.record_access import Resource
from gateway.http.bodies import HttpRequest, read
from gateway.http.caller import Callers
from gateway.http.event_stream import EventStream, accepts_events
from gateway.http.read_guard import reads, while_allowed
from swell.api.builds import BuildPage, BuildRecord, BuildStatus, Cancellation, CancelRequest
from swell.store.attestations import Attestation
from swell.store.records import MIRROR_PREFIX


@get("/v1alpha1/builds", opt=reads(Resource.BUILD_LIST))
async def builds(
    request: HttpRequest,
    queries: NamedDependency[BuildQueries],
    callers: NamedDependency[Callers],
    image: FromQuery[str],
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int | None] = None,
) -> BuildPage:
    """List the builds of an image. An image or container id without builds counts as a guess."""
    address, guess_limiter = callers.address(request.scope), callers.guess_limiter
    if not guess_limiter.is_known(image):
        guess_limiter.check(address)
    page = await queries.list_builds(image, cursor, limit)
    if page.builds:
        guess_limiter.remember(image)
    elif cursor is None:
        guess_limiter.count_miss(address, image)
    return page


@get("/v1alpha2/builds")
async def own_builds(
    request: HttpRequest,
    builds_of_user: NamedDependency[BuildsOfUser],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
    user: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int | None] = None,
) -> BuildPage:
    """List the builds that the user who sends the request has requested; for operators, those of any user."""
    return await builds_of_user.list(await callers.actor(request.scope, accounts), user, cursor, limit)


class BuildsController(Controller):
    path = "/v1alpha1/builds/{build_id:str}"

    @get(opt=reads(Resource.BUILD))
    async def record(self, build_id: FromPath[str], queries: NamedDependency[BuildQueries]) -> BuildRecord:
        return await queries.build_record(build_id)

    @get("/status", opt=reads(Resource.BUILD_STATUS))
    async def status(self, build_id: FromPath[str], queries: NamedDependency[BuildQueries]) -> BuildStatus:
        return await queries.build_status(build_id)

    @get("/condalock", opt=reads(Resource.LOCK))
    async def lock(self, build_id: FromPath[str], queries: NamedDependency[BuildQueries]) -> Stream:
        return Stream(await started(await queries.lock_file(build_id)), media_type="text/plain")

    @get("/signature", opt=reads(Resource.ATTESTATION))
    async def signature(self, build_id: FromPath[str], queries: NamedDependency[BuildQueries]) -> dict[str, Any]:
        return await queries.attestation(build_id, Attestation.SIGNATURE)

    @get("/provenance", opt=reads(Resource.ATTESTATION))
    async def provenance(self, build_id: FromPath[str], queries: NamedDependency[BuildQueries]) -> dict[str, Any]:
        return await queries.attestation(build_id, Attestation.PROVENANCE)

    @get("/sbom", opt=reads(Resource.ATTESTATION))
    async def sbom(
        self,
        build_id: FromPath[str],
        sbom_queries: NamedDependency[SbomQueries],
        platform: FromQuery[str | None] = None,
    ) -> Response[dict[str, Any]]:
        document = Stream(await started(await sbom_queries.sbom(build_id, platform)), media_type="application/json")
        return cast("Response[dict[str, Any]]", document)  # it may be large, so it is not decoded

    @get("/sif", status_code=HTTP_307_TEMPORARY_REDIRECT, opt=reads(Resource.BUILD))
    async def sif(
        self,
        request: HttpRequest,
        build_id: FromPath[str],
        downloads: NamedDependency[Downloads],
        callers: NamedDependency[Callers],
    ) -> Redirect:
        """Redirect to the bytes of the SIF file, where ranges and conditions are handled."""
        caller = await callers.identify(request.scope)
        caller.identity.require(Scope.PULL)
        return Redirect((await downloads.sif(build_id, caller)).url, status_code=HTTP_307_TEMPORARY_REDIRECT)

    @get("/logs", opt=reads(Resource.BUILD_LOG))
    async def logs(
        self,
        request: HttpRequest,
        build_id: FromPath[str],
        queries: NamedDependency[BuildQueries],
        log_events: NamedDependency[LogEvents],
    ) -> Response[Any]:
        if accepts_events(request) and not request.scope["state"].get("is_head"):
            return await event_response(request, build_id, log_events)
        pieces = await started(await queries.build_log(build_id))
        return Stream(pieces, media_type="text/plain", headers={"Vary": "Accept"})  # Litestar adds the charset

    @post("/cancel", status_code=200, request_max_body_size=None)  # `read` limits the size
    async def cancel(
        self,
        request: HttpRequest,
        build_id: FromPath[str],
        cancellations: NamedDependency[Cancellations],
        callers: NamedDependency[Callers],
        accounts: NamedDependency[Accounts],
    ) -> Cancellation:
        return await cancel_build(request, build_id, cancellations, callers, accounts)


async def cancel_build(
    request: HttpRequest, build_id: str, cancellations: Cancellations, callers: Callers, accounts: Accounts
) -> Cancellation:
    """Cancel a build or a mirror; a wrong request id counts as a guess."""
    body = await read(request, CancelRequest, empty=b"{}")
    return await cancel_as(request, build_id, body, cancellations, callers, accounts)


async def cancel_as(
    request: HttpRequest,
    build_id: str,
    body: CancelRequest,
    cancellations: Cancellations,
    callers: Callers,
    accounts: Accounts,
) -> Cancellation:
    """As `cancel_build`, for a *body* that has been read."""
    scope = await cancel_scope(request, build_id, body, callers, accounts)
    if not scope.request_id:
        return await cancellations.cancel(build_id, scope)
    with callers.guess_limiter.attempt(callers.address(request.scope), scope.request_id):
        return await cancellations.cancel(build_id, scope)


async def event_response(request: HttpRequest, build_id: str, log_events: LogEvents) -> Response[Any]:
    """The log as events; 204 for a client that has the last event, which stops a browser from reconnecting."""
    after = parse_position(request.headers.get("last-event-id", ""))
    events = await log_events.stream(build_id, after)
    if events is None:
        return Response(None, status_code=204)
    allowed = while_allowed(request, events)
    first = await anext(allowed, b"")  # its error still determines the status of the response
    return EventStream(first, allowed)


async def cancel_scope(
    request: HttpRequest, build_id: str, body: CancelRequest, callers: Callers, accounts: Accounts
) -> CancelScope:
    """Which requests the cancellation is for.

    All requests with an operator's account or key; one request with its id; otherwise all requests of the user.
    """
    authorization = request.headers.get("authorization", "")
    if authorization.lower().startswith("basic "):
        await callers.require_operator(request.scope, accounts)
        return CancelScope(all_requests=True)
    if body.request_id:
        return CancelScope(request_id=body.request_id)
    caller = await callers.identify(request.scope, body.tower_access_token, body.tower_endpoint)
    if not caller.identity.is_operator:
        caller.identity.require(Scope.MIRROR if build_id.startswith(MIRROR_PREFIX) else Scope.BUILD)
    return CancelScope(user=caller.identity.user, all_requests=caller.identity.is_operator)


async def started(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """*pieces* with the first one fetched already, so that its error still determines the response's status."""
    first = await anext(pieces, None)

    async def all_pieces() -> AsyncGenerator[bytes, None]:
        try:
            if first is not None:
                yield first
            async for piece in pieces:
                yield piece
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()

    return all_pieces()
