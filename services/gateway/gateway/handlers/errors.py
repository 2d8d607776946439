"""Every error, translated once: the OCI distribution spec's body on /v2, Wave's body with our additions elsewhere."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import Struct

from gateway.identity import Unauthorized
from gateway.limits import LimitExceeded
from swell.errors import BadRequest, NotFound, NotSupported, Side, SwellError, TooLarge
from swell.log import log

_CODES = {404: NotFound.code, 405: NotSupported.code, 413: TooLarge.code}


class ErrorBody(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`message` is what Wave's clients print; the rest stands beside it for those who look."""

    message: str
    code: str
    side: str = ""
    next: str = ""
    request_id: str = ""


def described(error: Exception) -> SwellError:
    """*error* itself if we foresaw it; else UNKNOWN, and the whole story goes to the log."""
    if isinstance(error, SwellError):
        return error
    log.error("unforeseen error", exc_info=error)
    return SwellError()


def oci_body(error: SwellError) -> bytes:
    return msgspec.json.encode({"errors": [{"code": error.code, "message": str(error)}]})


def headers_of(error: SwellError) -> dict[str, str]:
    """When to come back, and what the limit is. Source: RFC 9110, 10.2.3; draft-ietf-httpapi-ratelimit-headers-03."""
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if isinstance(error, LimitExceeded):
        limits = {"limit": error.limit, "remaining": 0, "reset": error.reset}
        headers |= {f"ratelimit-{name}": str(number) for name, number in limits.items()}
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return headers


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """Litestar's own complaints (no such route, wrong method, too large a body) keep their status."""
    request_id = request.scope.get("state", {}).get("request_id", "")
    if isinstance(error, HTTPException) and error.status_code < 500:
        code = _CODES.get(error.status_code, BadRequest.code)
        body = ErrorBody(message=error.detail, code=code, side=Side.CLIENT.value, request_id=request_id)
        return Response(body, status_code=error.status_code, headers=error.headers, media_type="application/json")
    known = described(error)
    return Response(
        ErrorBody(message=str(known), code=known.code, side=known.side.value, next=known.advice, request_id=request_id),
        status_code=known.status,
        headers=headers_of(known),
        media_type="application/json",
    )
