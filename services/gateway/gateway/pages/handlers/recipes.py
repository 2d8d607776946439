"""`/build` and `/augment`: forms for a container file, and for additions to an image."""

from typing import Any, Protocol

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.builds.queries import BuildQueries
from gateway.domain.access.record_access import Resource
from gateway.handlers.submissions import Submissions
from gateway.http.bodies import HttpRequest
from gateway.http.read_guard import reads
from gateway.pages.forms import read_form
from gateway.pages.handlers.answers import leading, show_form
from gateway.pages.requests import Fields, augment_request, fields_of_build, recipe_request
from swell.api.containers import ContainerRequest
from swell.errors import SwellError


@get("/build")
async def recipe_form() -> Response[str]:
    return show_form("recipe.html", "/build", {})


@get("/view/builds/{build_id:str}/again", opt=reads(Resource.PAGE))
async def build_again(build_id: FromPath[str], queries: NamedDependency[BuildQueries]) -> Response[str]:
    """The form with the recipe of a build that has run."""
    record = await queries.build_record(build_id)
    return show_form("recipe.html", "/build", fields_of_build(record))


@post("/build", request_max_body_size=None)  # `read_form` limits the size
async def submit_recipe(request: HttpRequest, submissions: NamedDependency[Submissions]) -> Response[Any]:
    """Request the image of a container file, and lead to its page; or show the dry run, or what is wrong."""
    return await _submit(request, submissions, "recipe.html", "/build", recipe_request)


@get("/augment")
async def augment_form() -> Response[str]:
    return show_form("augment.html", "/augment", {})


@post("/augment", request_max_body_size=None)  # `read_form` limits the size
async def submit_augment(request: HttpRequest, submissions: NamedDependency[Submissions]) -> Response[Any]:
    """Request an image with additions, and lead to its page; or show the dry run, or what is wrong."""
    return await _submit(request, submissions, "augment.html", "/augment", augment_request)


class RequestOf(Protocol):
    def __call__(self, fields: Fields, /, *, dry_run: bool) -> ContainerRequest:
        """Return the request of a form; raises `BadRequest` with what is wrong."""


async def _submit(
    request: HttpRequest, submissions: Submissions, template: str, path: str, request_of: RequestOf
) -> Response[Any]:
    fields = await read_form(request)
    is_dry = fields.get("action") == "dry"
    try:
        answer = await submissions.send(request.scope, request_of(fields, dry_run=is_dry))
    except SwellError as error:
        return show_form(template, path, fields, problem=error)
    return show_form(template, path, fields, answer=answer) if is_dry else leading(request, answer)
