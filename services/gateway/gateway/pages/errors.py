"""Errors as pages: what happened, whose problem it is, and what to do."""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import NotFoundException

from gateway.http.errors import described, on_error
from gateway.pages.rendering import page
from swell.errors import Side

_WHOSE: dict[str, str] = {
    Side.CLIENT: "You can solve this.",
    Side.UPSTREAM: "The problem is at the registry or channel that the message names.",
    Side.SERVER: "The problem is at this server; its operator can solve it.",
}
_TITLES = {
    400: "This request is not valid",
    401: "Sign-in needed",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Too late",
    413: "Too large",
    429: "Too many requests",
    501: "Not supported here",
    502: "Another server has failed",
    503: "Not available at the moment",
    504: "Another server did not answer in time",
}


def on_any_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A page for a browser at an unknown path, and for all paths of pages; otherwise the error of the API."""
    is_lost_browser = isinstance(error, NotFoundException) and "text/html" in request.headers.get("accept", "")
    if is_lost_browser or request.scope["path"].startswith("/view/"):
        return on_page_error(request, error)
    return on_error(request, error)


def on_page_error(_: Request[Any, Any, Any], error: Exception) -> Response[str]:
    """Convert an exception to a page with the status and the headers that the API would send."""
    status, body, headers = described(error)
    response = page(
        "error.html",
        status=status,
        title=_TITLES.get(status, "Something went wrong"),
        code=body.code,
        message=body.message,
        whose=_WHOSE.get(body.side, ""),
        advice=body.next,
        request_id=body.request_id,
    )
    response.headers.update(headers)
    return response
