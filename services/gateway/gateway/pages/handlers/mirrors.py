"""`/view/mirrors/{id}`: the page of a mirror."""

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.builds.mirrors import MirrorQueries
from gateway.domain.access.record_access import Resource
from gateway.http.bodies import HttpRequest
from gateway.http.read_guard import reads
from gateway.pages.builds import log_start
from gateway.pages.explain import explain
from gateway.pages.handlers.cookies import request_of
from gateway.pages.rendering import page
from swell.store.records import Reason


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
