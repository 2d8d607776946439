"""`/view/mirrors/{id}`: the page of a mirror."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from gateway.access.accounts import Accounts
from gateway.builds.cancel import Cancellations
from gateway.builds.mirrors import MirrorQueries
from gateway.domain.record_access import Resource
from gateway.handlers.builds import cancel_as
from gateway.http.caller import Callers
from gateway.http.read_guard import reads
from gateway.pages.builds import log_start
from gateway.pages.explain import explain
from gateway.pages.forms import read_form
from gateway.pages.handlers.cookies import request_of
from gateway.pages.rendering import page
from swell.api.builds import CancelRequest
from swell.store.records import Reason

HttpRequest = Request[Any, Any, Any]


@get("/view/mirrors/{mirror_id:str}", opt=reads(Resource.PAGE))
async def mirror_page(
    request: HttpRequest, mirror_id: FromPath[str], mirror_queries: NamedDependency[MirrorQueries]
) -> Response[str]:
    record = await mirror_queries.record(mirror_id)
    log = await log_start(mirror_queries.log(mirror_id))
    reason = Reason(record.reason) if record.reason else None
    if record.exit_code is None:
        state = "running" if record.queue_position is None else "queued"
    else:
        state = "succeeded" if record.exit_code == 0 else "cancelled" if reason is Reason.CANCELLED else "failed"
    return page(
        "mirror.html",
        record=record,
        state=state,
        is_over=record.exit_code is not None,
        explanation=explain(reason, "mirror") if state in {"failed", "cancelled"} else None,
        log=log,
        may_cancel=request_of(request) is not None,
    )


@post("/view/mirrors/{mirror_id:str}/cancel", request_max_body_size=None)  # `read_form` limits the size
async def cancel_mirror_page(
    request: HttpRequest,
    mirror_id: FromPath[str],
    cancellations: NamedDependency[Cancellations],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Redirect:
    """Cancel a mirror for the request that this browser has sent, or for the id in the form."""
    fields = await read_form(request)
    body = CancelRequest(request_id=fields.get("requestId") or request_of(request))
    await cancel_as(request, mirror_id, body, cancellations, callers, accounts)
    return Redirect(f"/view/mirrors/{mirror_id}", status_code=303)
