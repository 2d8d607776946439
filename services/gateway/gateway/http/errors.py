"""Every error, translated once: the OCI distribution spec's body on /v2, Wave's body with our additions elsewhere."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Scope, Send
from msgspec import Struct
from structlog.contextvars import get_contextvars

from gateway.access.limits import LimitExceeded
from swell.errors import BadRequest, NotFound, NotSupported, Side, SwellError, TooLarge, Unauthorized
from swell.log import log
from swell.oci.error_codes import error_body

_FRAMEWORK = {
    404: (NotFound.code, "Check the path; /openapi/ lists all there are."),
    405: (NotSupported.code, "Use a method that the Allow header names."),
    413: (TooLarge.code, TooLarge.advice),
}


class ErrorBody(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`message` is what Wave's clients print; the rest stands beside it for those who look.

    `side` is whose turn it is, `next` what to do; the ids find the story in the logs, of us and of the caller's trace.
    """

    message: str
    code: str
    side: str = ""
    next: str = ""
    request_id: str = ""
    trace_id: str = ""


class _Error(Struct, frozen=True):
    code: str = SwellError.code
    message: str = ""


class _Told(Struct, frozen=True):
    """The body of an error. Source: distribution-spec, "Error Codes"."""

    errors: tuple[_Error, ...] = ()


def described(error: Exception) -> SwellError:
    """*error* itself if we foresaw it; else UNKNOWN, and the whole story goes to the log."""
    if isinstance(error, SwellError):
        return error
    log.error("unforeseen error", exc_info=error)
    return SwellError()


def oci_body(error: SwellError) -> bytes:
    """Clients of registries know the specification's codes only, and UNKNOWN for what it has no word for."""
    return error_body(error.code, str(error))


def passed_on(body: bytes) -> bytes:
    """*body*, by which another of our services tells clients of registries an error, as `oci_body` would tell it."""
    try:
        told = msgspec.json.decode(body, type=_Told).errors[0]
    except (msgspec.DecodeError, IndexError):
        return oci_body(SwellError())
    return error_body(told.code, told.message)


def headers_of(error: SwellError) -> dict[str, str]:
    """When to come back, and what the limit is. Source: RFC 9110, 10.2.3; draft-ietf-httpapi-ratelimit-headers-03."""
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if isinstance(error, LimitExceeded):
        limits = {"limit": error.limit, "remaining": 0, "reset": error.reset}
        headers |= {f"ratelimit-{name}": str(number) for name, number in limits.items()}
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return headers


def on_error(_: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """Litestar's own complaints (no such route, wrong method, too large a body) keep their status."""
    if isinstance(error, HTTPException) and error.status_code < 500:
        code, advice = _FRAMEWORK.get(error.status_code, (BadRequest.code, BadRequest.advice))
        return _answer(error.status_code, _complaint(error), code, Side.CLIENT, advice, _headers(error))
    known = described(error)
    return _answer(known.status, str(known), known.code, known.side, known.advice, headers_of(known))


def _headers(error: HTTPException) -> dict[str, str]:
    """Litestar's own, but for `Allow`: of all methods that it knows we answer all but OPTIONS, and HEAD beside GET."""
    headers = dict(error.headers or {})
    if "allow" in headers:
        methods = set(headers["allow"].split(", ")) - {"OPTIONS"}
        headers["allow"] = ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
    return headers


def _complaint(error: HTTPException) -> str:
    """What Litestar has to complain of: of each parameter, where it says so."""
    told = [f"{each['key']}: {each['message']}" for each in error.extra or () if isinstance(each, dict)]
    return "; ".join(told) or error.detail


async def send_error(scope: Scope, send: Send, error: SwellError) -> None:
    """Answer the request of *scope* with *error* before any handler is reached."""
    if scope["path"].startswith("/v2"):
        body = oci_body(error)
    else:
        body = msgspec.json.encode(_body(str(error), error.code, error.side, error.advice))
    told = {"content-type": "application/json", "content-length": str(len(body))} | headers_of(error)
    headers = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    shown = b"" if scope.get("method") == "HEAD" else body
    await send({"type": "http.response.body", "body": shown, "more_body": False})


def _answer(
    status: int, message: str, code: str, side: Side, advice: str, headers: dict[str, str]
) -> Response[ErrorBody]:
    body = _body(message, code, side, advice)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _body(message: str, code: str, side: Side, advice: str) -> ErrorBody:
    ids = get_contextvars()
    return ErrorBody(
        message=message,
        code=code,
        side=side.value,
        next=advice,
        request_id=ids.get("request_id", ""),
        trace_id=ids.get("trace_id", ""),
    )
