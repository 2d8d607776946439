"""`/`: search packages, choose versions, see the dry run, and build a container of them."""

from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency

from gateway.handlers.submissions import Submissions
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.package_search import Found, PackageSearch
from gateway.pages.forms import read_form
from gateway.pages.handlers.answers import leading, show_form
from gateway.pages.requests import PLATFORMS, TEMPLATES, packages_request
from swell.api.containers import ContainerAnswer
from swell.errors import SwellError

LONGEST_QUERY = 60  # characters


@get("/")
async def picker(
    request: HttpRequest, package_search: NamedDependency[PackageSearch], callers: NamedDependency[Callers]
) -> Response[str]:
    """The form. Without JavaScript, the search sends all of it, and `add` names the package to add to the list."""
    fields = {name: str(value) for name, value in request.query_params.items()}
    if added := fields.get("add"):
        version = fields.get(f"version {added}")
        line = f"{added}={version}" if version else added
        fields["packages"] = "\n".join(filter(None, (fields.get("packages", "").strip(), line)))
    return await _show(request, fields, package_search, callers)


@post("/", request_max_body_size=None)  # `read_form` limits the size
async def submit_packages(
    request: HttpRequest,
    submissions: NamedDependency[Submissions],
    package_search: NamedDependency[PackageSearch],
    callers: NamedDependency[Callers],
) -> Response[Any]:
    """Request the container, and lead to its page; or show the dry run, or what is wrong with the form."""
    fields = await read_form(request)
    is_dry = fields.get("action") == "dry"
    try:
        answer = await submissions.send(request.scope, packages_request(fields, dry_run=is_dry))
    except SwellError as error:
        return await _show(request, fields, package_search, callers, problem=error)
    if is_dry:
        return await _show(request, fields, package_search, callers, answer=answer)
    return leading(request, answer)


async def _show(
    request: HttpRequest,
    fields: dict[str, str],
    package_search: PackageSearch,
    callers: Callers,
    *,
    answer: ContainerAnswer | None = None,
    problem: SwellError | None = None,
) -> Response[str]:
    query = fields.get("q", "").strip()[:LONGEST_QUERY]
    platform = next((platform for platform in PLATFORMS if platform in fields), PLATFORMS[0])
    found, search_problem = Found(), ""
    try:
        if query:  # the channels may be private
            found = await package_search.search(query, platform, await callers.identify(request.scope))
        else:
            found = Found(channels=await package_search.channels())
    except SwellError as error:
        search_problem = str(error)
    return show_form(
        "picker.html",
        "/",
        fields,
        answer=answer,
        problem=problem,
        query=query,
        found=found.packages,
        channels=fields.get("channels") or " ".join(found.channels),
        search_problem=search_problem,
        templates=TEMPLATES,
    )
