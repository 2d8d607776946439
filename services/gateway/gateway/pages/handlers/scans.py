"""`/view/scans`: the page of a scan, the scans of one image, and the form to scan any image."""

import re
from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from gateway.domain.access.record_access import Resource
from gateway.handlers.submissions import Submissions
from gateway.http.bodies import HttpRequest
from gateway.http.read_guard import reads
from gateway.pages.forms import read_form
from gateway.pages.rendering import page
from gateway.pages.verdict import MOST_ROWS, judgement, ordered, parts
from gateway.scans.queries import ScanQueries
from swell.api.containers import ContainerRequest, ScanMode
from swell.errors import BadRequest, NotFound

_WITHOUT_NUMBER = re.compile(r"(?:sc-)?([0-9a-z-]{14,20})")
_OLD_ID = re.compile(r"([0-9a-zA-Z-]+)-(\d{1,9})", re.ASCII)


@get("/view/scans")
async def scan_form() -> Response[str]:
    return page("scan_form.html", here="/view/scans")


@post("/view/scans", request_max_body_size=None)  # `read_form` limits the size
async def start_scan(request: HttpRequest, submissions: NamedDependency[Submissions]) -> Redirect:
    """Scan an image, and lead to the page of the scan."""
    fields = await read_form(request)
    if not fields.get("image"):
        raise BadRequest("enter the name of an image")
    container_request = ContainerRequest(container_image=fields["image"], scan_mode=ScanMode.REQUIRED)
    answer = await submissions.send(request.scope, container_request)
    if answer.scan_id is None:
        raise BadRequest(" ".join(answer.warnings) or "the image is not scanned")
    return Redirect(f"/view/scans/{answer.scan_id}", status_code=303)


@get("/view/scans/{scan_id:str}", opt=reads(Resource.PAGE))
async def scan_page(scan_id: FromPath[str], scan_queries: NamedDependency[ScanQueries]) -> Response[Any]:
    """The page of a scan; the list of the scans of its image for an id without a number."""
    if (match := _WITHOUT_NUMBER.fullmatch(scan_id)) and (scans := await scan_queries.history(match[1])):
        if len(scans) == 1:
            return Redirect(f"/view/scans/{scans[0].id}", status_code=307)
        return page("scan_list.html", scans=scans)
    if match := _OLD_ID.fullmatch(scan_id):
        return Redirect(f"/view/scans/{match[1]}_{match[2]}", status_code=301)
    if "_" not in scan_id:
        raise NotFound(f"no scans with the id {scan_id[:80]}")
    record = await scan_queries.record(scan_id)
    return page(
        "scan.html",
        record=record,
        judgement=judgement(record),
        bar=parts(record.counts or {}),
        findings=ordered(record)[:MOST_ROWS],
        total=sum((record.counts or {}).values()),
    )
