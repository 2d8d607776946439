"""`/view/builds`: the page of a build, and the list of the builds of equal inputs."""

import re
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from gateway.access.accounts import Accounts
from gateway.builds.cancel import Cancellations
from gateway.builds.queries import BuildQueries
from gateway.domain.record_access import Resource
from gateway.handlers.builds import cancel_as
from gateway.http.caller import Callers
from gateway.http.read_guard import reads
from gateway.pages.builds import MOST_TEXT, BuildPages
from gateway.pages.forms import read_form
from gateway.pages.rendering import page
from swell.api.builds import CancelRequest
from swell.errors import NotFound

HttpRequest = Request[Any, Any, Any]
HISTORY = 20  # builds in a list

_CONTAINER_ID = re.compile(r"(?:bd-)?([0-9a-f]{16})")
_OLD_ID = re.compile(r"([0-9a-zA-Z-]+)-(\d+)", re.ASCII)
_REQUEST = "request"  # name of the cookie


@get("/view/builds/{build_id:str}", opt=reads(Resource.PAGE))
async def build_page(
    request: HttpRequest,
    build_id: FromPath[str],
    build_pages: NamedDependency[BuildPages],
    queries: NamedDependency[BuildQueries],
    cursor: FromQuery[str | None] = None,
) -> Response[Any]:
    """The page of a build; the list of its builds for an id without a number."""
    if match := _CONTAINER_ID.fullmatch(build_id):
        return await _history(match[1], queries, cursor)
    if match := _OLD_ID.fullmatch(build_id):
        return Redirect(f"/view/builds/{match[1]}_{match[2]}", status_code=301)
    view = await build_pages.build(build_id, with_log="hx-request" not in request.headers)
    may_cancel = not view.is_over and _REQUEST in request.cookies
    return page("build.html", view=view, record=view.record, may_cancel=may_cancel, most_text=MOST_TEXT)


async def _history(container_id: str, queries: BuildQueries, cursor: str | None) -> Response[Any]:
    listed = await queries.list_builds(container_id, cursor, HISTORY)
    if not listed.builds:
        raise NotFound(f"no builds with the id {container_id}")
    if len(listed.builds) == 1 and cursor is None:
        return Redirect(f"/view/builds/{listed.builds[0].build_id}", status_code=307)
    return page("build_list.html", container_id=container_id, builds=listed.builds, next=listed.next)


@post("/view/builds/{build_id:str}/cancel", request_max_body_size=None)  # `read_form` limits the size
async def cancel_page(
    request: HttpRequest,
    build_id: FromPath[str],
    cancellations: NamedDependency[Cancellations],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Redirect:
    """Cancel a build for the request that this browser has sent, or for the id in the form."""
    fields = await read_form(request)
    body = CancelRequest(request_id=fields.get("requestId") or request.cookies.get(_REQUEST))
    await cancel_as(request, build_id, body, cancellations, callers, accounts)
    return Redirect(f"/view/builds/{build_id}", status_code=303)


def request_cookie(build_id: str, request_id: str, *, is_secure: bool) -> Cookie:
    """A cookie with which the page of *build_id* can cancel the build: only its own path gets it."""
    return Cookie(
        _REQUEST,
        path=f"/view/builds/{build_id}",
        value=request_id,
        max_age=24 * 3600,
        secure=is_secure,
        httponly=True,
        samesite="strict",
    )
