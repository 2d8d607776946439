"""`/v1alpha1/builds`: what builds were asked, how far they are, what they said, and the wish to end them."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Stream
from litestar.status_codes import HTTP_307_TEMPORARY_REDIRECT

from gateway.access.accounts import Accounts
from gateway.builds.cancel import Cancellations, CancelScope
from gateway.builds.download import Downloads
from gateway.builds.event_encoding import parse_position
from gateway.builds.log_events import LogEvents
from gateway.builds.queries import BuildQueries
from gateway.http.bodies import read_body
from gateway.http.caller import Callers
from gateway.http.event_stream import EventStream, wants_events
from swell.api.builds import BuildPage, BuildRecord, BuildStatus, Cancellation, CancelRequest
from swell.api.lenient import decode

Asked = Request[Any, Any, Any]


@get("/v1alpha1/builds")
async def builds(
    request: Asked,
    following: NamedDependency[BuildQueries],
    callers: NamedDependency[Callers],
    image: FromQuery[str],
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int | None] = None,
) -> BuildPage:
    """An image, or a container id, of which there are no builds counts as a guess."""
    address, guesses = callers.address(request.scope), callers.guesses
    if not guesses.knows(image):
        guesses.check(address)
    page = await following.builds(image, cursor, limit)
    if page.builds:
        guesses.opened(image)
    elif cursor is None:
        guesses.missed(address, image)
    return page


class BuildsController(Controller):
    path = "/v1alpha1/builds/{build_id:str}"

    @get()
    async def record(self, build_id: FromPath[str], following: NamedDependency[BuildQueries]) -> BuildRecord:
        return await following.build(build_id)

    @get("/status")
    async def status(self, build_id: FromPath[str], following: NamedDependency[BuildQueries]) -> BuildStatus:
        return await following.build_status(build_id)

    @get("/condalock")
    async def lock(self, build_id: FromPath[str], following: NamedDependency[BuildQueries]) -> Stream:
        return Stream(await begun(await following.lock(build_id)), media_type="text/plain")

    @get("/sif", status_code=HTTP_307_TEMPORARY_REDIRECT)
    async def sif(
        self,
        request: Asked,
        build_id: FromPath[str],
        downloads: NamedDependency[Downloads],
        callers: NamedDependency[Callers],
    ) -> Redirect:
        """Ranges and conditions are answered where it leads to."""
        caller = await callers.of(request.scope)
        return Redirect((await downloads.sif(build_id, caller.principal)).url, status_code=HTTP_307_TEMPORARY_REDIRECT)

    @get("/logs")
    async def logs(
        self,
        request: Asked,
        build_id: FromPath[str],
        following: NamedDependency[BuildQueries],
        watching: NamedDependency[LogEvents],
    ) -> Response[Any]:
        if wants_events(request) and not request.scope["state"].get("is_head"):
            return await events(request, build_id, watching)
        pieces = await begun(await following.log(build_id))
        return Stream(pieces, media_type="text/plain", headers={"Vary": "Accept"})  # Litestar adds the charset

    @post("/cancel", status_code=200, request_max_body_size=None)
    async def cancel(
        self,
        request: Asked,
        build_id: FromPath[str],
        cancelling: NamedDependency[Cancellations],
        callers: NamedDependency[Callers],
        accounts: NamedDependency[Accounts],
    ) -> Cancellation:
        told = decode(await read_body(request) or b"{}", CancelRequest)
        wish = await wish_of(request, told, callers, accounts)
        if not wish.request_id:
            return await cancelling.cancel(build_id, wish)
        with callers.guesses.attempt(callers.address(request.scope), wish.request_id):
            return await cancelling.cancel(build_id, wish)


async def events(request: Asked, build_id: str, watching: LogEvents) -> Response[Any]:
    """The log as events; 204 to whoever has had the last one, which ends a browser's coming again."""
    after = parse_position(request.headers.get("last-event-id", ""))
    told = await watching.watch(build_id, after)
    return Response(None, status_code=204) if told is None else EventStream(await begun(told))


async def wish_of(request: Asked, told: CancelRequest, callers: Callers, accounts: Accounts) -> CancelScope:
    """Who leaves: everybody, when an account of the operator's says so; the one request that is named; or all of the
    user who has the access token."""
    authorization = request.headers.get("authorization", "")
    if authorization.lower().startswith("basic "):
        await callers.admit_operator(request.scope, accounts)
        return CancelScope(everybody=True)
    if told.request_id:
        return CancelScope(request_id=told.request_id)
    caller = await callers.of(request.scope, told.tower_access_token, told.tower_endpoint)
    return CancelScope(user=caller.identity.user)


async def begun(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """*pieces*, the first of them fetched already: what is wrong with it is still told by the answer's status."""
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
