"""Checks of every request's head before anything reads it: `Host`, and the lengths of the target and of the fields.

Source: RFC 9112, 3.2 ("Host"); RFC 9110, 15.5.15 (414); RFC 6585, 5 (431). What is longer than the server itself takes
(targets of 64 KiB, 100 fields, heads of 400 KiB) or is malformed is answered by it, with the same status and no body.
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.http.errors import send_error
from swell.errors import BadRequest, SwellError, TooLarge

LONGEST_TARGET = 16 << 10  # bytes of path and query
LARGEST_HEAD = 64 << 10  # bytes of all fields


class TargetTooLong(TooLarge):
    """The path and the query of the request are longer than this server takes."""

    status = 414
    advice = "Send a shorter path or query."


class HeadTooLarge(TooLarge):
    """The header fields of the request are larger than this server takes."""

    status = 431
    advice = "Send fewer or shorter header fields."


class RequestChecks:
    """Wraps an application, which then gets requests with one `Host` and a head of bounded size only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and (error := _fault(scope)) is not None:
            await send_error(scope, send, error)
            return
        await self._app(scope, receive, send)


def _fault(scope: Scope) -> SwellError | None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        return TargetTooLong()
    size, hosts, named = 0, 0, False
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1
            named = bool(value)
    if size > LARGEST_HEAD:
        return HeadTooLarge()
    if hosts > 1:
        return BadRequest("the request has more than one Host header")
    if not named and scope["http_version"] not in {"1", "1.0"}:  # the server adds an empty one to a request without
        return BadRequest("the request has no Host header")
    return None
