"""`/view/builds`: the page of a build, and the list of the builds of equal inputs."""

import re
from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from gateway.access.accounts.accounts import Accounts
from gateway.access.read_access import ReadAccess
from gateway.builds.cancel import Cancellations
from gateway.builds.queries import BuildQueries
from gateway.domain.access.identity import queue_of
from gateway.domain.access.record_access import Resource
from gateway.handlers.builds import cancel_as
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.http.read_guard import reads
from gateway.pages.builds import BuildPages
from gateway.pages.differences import MayRead, has_other_versions_only
from gateway.pages.forms import read_form
from gateway.pages.handlers.cookies import request_of
from gateway.pages.rendering import MOST_TEXT, page
from swell.api.builds import CancelRequest
from swell.errors import NotFound, SwellError
from swell.store.records import Build

HISTORY = 20  # builds in a list

_CONTAINER_ID = re.compile(r"(?:bd-)?([0-9a-f]{16})")
_OLD_ID = re.compile(r"([0-9a-zA-Z-]+)-(\d+)", re.ASCII)


@get("/view/builds/{build_id:str}", opt=reads(Resource.PAGE))
async def build_page(
    request: HttpRequest,
    build_id: FromPath[str],
    build_pages: NamedDependency[BuildPages],
    queries: NamedDependency[BuildQueries],
    read_access: NamedDependency[ReadAccess],
    callers: NamedDependency[Callers],
    cursor: FromQuery[str | None] = None,
) -> Response[Any]:
    """The page of a build; the list of its builds for an id without a number."""
    if match := _CONTAINER_ID.fullmatch(build_id):
        if not read_access.is_open:
            raise NotFound("this server does not list builds; open the page of one build")
        return await _history(match[1], queries, cursor)
    if match := _OLD_ID.fullmatch(build_id):
        return Redirect(f"/view/builds/{match[1]}_{match[2]}", status_code=301)
    with_log = "hx-request" not in request.headers
    view = await build_pages.build(build_id, _reader(request, callers, read_access), with_log=with_log)
    may_cancel = not view.is_over and request_of(request) is not None
    return page("build.html", view=view, record=view.record, may_cancel=may_cancel, most_text=MOST_TEXT)


def _reader(request: HttpRequest, callers: Callers, read_access: ReadAccess) -> MayRead:
    """Who may see the build before one: those who may read its page.

    Where an id is enough for that, this page would publish an id. So what its author may show to no other client (a
    container file, commands, the address of a channel) is for its client only; other versions of the same packages
    are for all viewers.
    """

    async def may_read(shown: Build, former: Build) -> bool:
        if read_access.is_open and (
            former.submission.container_id == shown.submission.container_id
            or has_other_versions_only(former.submission, shown.submission)
        ):
            return True
        try:
            caller = await callers.identify(request.scope)
            await read_access.check(Resource.PAGE, former.id, caller.identity)
        except SwellError:
            return False
        return not read_access.is_open or queue_of(caller) == former.submission.client

    return may_read


async def _history(container_id: str, queries: BuildQueries, cursor: str | None) -> Response[Any]:
    listed = await queries.list_builds(container_id, cursor, HISTORY)
    if not listed.builds:
        raise NotFound(f"no builds with the id {container_id}")
    if len(listed.builds) == 1 and cursor is None:
        return Redirect(f"/view/builds/{listed.builds[0].build_id}", status_code=307)
    return page("build_list.html", container_id=container_id, builds=listed.builds, next=listed.next)


_CANCEL = ["/view/builds/{build_id:str}/cancel", "/view/mirrors/{build_id:str}/cancel"]


@post(_CANCEL, request_max_body_size=None)  # `read_form` limits the size
async def cancel_page(
    request: HttpRequest,
    build_id: FromPath[str],
    cancellations: NamedDependency[Cancellations],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Redirect:
    """Cancel a build or mirror for the request that this browser has sent, or for the id in the form."""
    fields = await read_form(request)
    body = CancelRequest(request_id=fields.get("requestId") or request_of(request))
    await cancel_as(request, build_id, body, cancellations, callers, accounts)
    return Redirect(request.url.path.removesuffix("/cancel"), status_code=303)
