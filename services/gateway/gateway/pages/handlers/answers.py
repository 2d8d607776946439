"""What follows a form: the page of the container, or the form again with the dry run or the error."""

from collections.abc import Mapping
from typing import Any

from litestar import Response
from litestar.response import Redirect

from gateway.http.bodies import HttpRequest
from gateway.pages.handlers.cookies import request_cookie
from gateway.pages.rendering import page
from gateway.pages.requests import PLATFORMS
from swell.api.containers import ContainerAnswer
from swell.errors import SwellError


def leading(request: HttpRequest, answer: ContainerAnswer) -> Redirect:
    """Lead to the page of the container. The browser can cancel its new build."""
    cookies = []
    if answer.build_id and answer.cached is False:
        path = f"/view/builds/{answer.build_id}"
        cookies.append(request_cookie(path, answer.request_id, is_secure=request.url.scheme == "https"))
    return Redirect(f"/view/containers/{answer.request_id}", status_code=303, cookies=cookies)


def show_form(
    template: str,
    path: str,
    fields: Mapping[str, str],
    *,
    answer: ContainerAnswer | None = None,
    problem: SwellError | None = None,
    **values: Any,
) -> Response[str]:
    """The form *template* at *path* with its *fields*, and the *answer* of a dry run, or a *problem*."""
    return page(
        template,
        status=problem.status if problem else 200,
        here=path,
        fields=fields,
        answer=answer,
        problem=problem,
        platforms=PLATFORMS,
        **values,
    )
