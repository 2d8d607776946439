"""`/view/containers/{token}`: a container request, what it gave, and how to pull it."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from gateway.access.accounts.accounts import Accounts
from gateway.access.revoke import Revocations
from gateway.builds.queries import BuildQueries
from gateway.domain.access.record_access import Resource
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.http.read_guard import reads
from gateway.pages.forms import read_form
from gateway.pages.pull_lines import pull_lines
from gateway.pages.rendering import MOST_TEXT, page
from swell.errors import SwellError


@get("/view/containers/{token:str}", opt=reads(Resource.PAGE))
async def container_page(token: FromPath[str], queries: NamedDependency[BuildQueries]) -> Response[str]:
    record = await queries.container_record(token)
    try:
        status = await queries.container_status(token)
    except SwellError:  # the token has expired, or a record that it needs
        status = None
    image = record.wave_image or record.source_image
    return page(
        "container.html",
        record=record,
        status_of=status,
        lines=pull_lines(image) if status else (),
        image=image,
        most_text=MOST_TEXT,
    )


@post("/view/containers/{token:str}/revoke", request_max_body_size=None)  # `read_form` limits the size
async def revoke_page(
    request: HttpRequest,
    token: FromPath[str],
    revocations: NamedDependency[Revocations],
    accounts: NamedDependency[Accounts],
    callers: NamedDependency[Callers],
) -> Redirect:
    """Revoke a token, for operators."""
    await read_form(request)
    operator = await callers.require_operator(request.scope, accounts)
    await revocations.revoke(token, operator)
    return Redirect(f"/view/containers/{token}", status_code=303)
