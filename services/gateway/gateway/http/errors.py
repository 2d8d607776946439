"""Error responses: the body of the OCI distribution-spec under `/v2`, Wave's body with additions elsewhere.

Source: OCI distribution-spec, "Error Codes",
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
"""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Scope, Send
from msgspec import Struct

from gateway.access.limits import LimitExceeded
from swell.errors import BadRequest, NotFound, NotSupported, Side, SwellError, TooLarge, Unauthorized
from swell.log import current_trace, log
from swell.oci.error_codes import error_body

_FRAMEWORK = {
    404: (NotFound.code, "Check the path; /openapi/ lists all paths."),
    405: (NotSupported.code, "Use a method that the Allow header names."),
    413: (TooLarge.code, TooLarge.advice),
}


class ErrorBody(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The body of an error. Wave's clients print `message`.

    `side` is who can fix the error, and `next` how, if the message does not say it. The ids find the request in the
    logs and traces.
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


class _OciErrors(Struct, frozen=True):
    """The body of an error of the distribution-spec."""

    errors: tuple[_Error, ...] = ()


def expected(error: Exception) -> SwellError:
    """*error* if it is a `SwellError`; otherwise UNKNOWN, and the log gets all details."""
    if isinstance(error, SwellError):
        return error
    log.error("unexpected error", exc_info=error)
    return SwellError()


def oci_body(error: SwellError) -> bytes:
    """The body for registry clients; a code that the specification does not have becomes UNKNOWN."""
    return error_body(error.code, str(error))


def relayed_body(body: bytes) -> bytes:
    """The error *body* of another service of Swell, in the form of `oci_body`; UNKNOWN if it is malformed."""
    try:
        first = msgspec.json.decode(body, type=_OciErrors).errors[0]
    except (msgspec.DecodeError, IndexError):
        return oci_body(SwellError())
    return error_body(first.code, first.message)


def headers_of(error: SwellError) -> dict[str, str]:
    """The headers of an error: when to retry, the rate limit, and the authentication scheme.

    Source: RFC 9110, 10.2.3 "Retry-After", https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    Source: "RateLimit Header Fields for HTTP", draft 03,
    https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-03
    """
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if isinstance(error, LimitExceeded):
        limits = {"limit": error.limit, "remaining": 0, "reset": error.reset}
        headers |= {f"ratelimit-{name}": str(number) for name, number in limits.items()}
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return headers


def on_error(_: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """Convert an exception to a response; errors of Litestar (unknown path, wrong method) keep their status."""
    status, body, headers = described(error)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def described(error: Exception) -> tuple[int, ErrorBody, dict[str, str]]:
    """The status, the body and the headers of the response for *error*."""
    if isinstance(error, HTTPException) and error.status_code < 500:
        code, advice = _FRAMEWORK.get(error.status_code, (BadRequest.code, BadRequest.advice))
        return error.status_code, _body(_message(error), code, Side.CLIENT, advice), _headers(error)
    known = expected(error)
    return known.status, _body(str(known), known.code, known.side, known.advice), headers_of(known)


def _headers(error: HTTPException) -> dict[str, str]:
    """The headers of Litestar; in `Allow` HEAD is added to GET, and OPTIONS removed."""
    headers = dict(error.headers or {})
    if "allow" in headers:
        methods = set(headers["allow"].split(", ")) - {"OPTIONS"}
        headers["allow"] = ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
    return headers


def _message(error: HTTPException) -> str:
    """The message of Litestar: of each invalid parameter, if it names them."""
    messages = [f"{item['key']}: {item['message']}" for item in error.extra or () if isinstance(item, dict)]
    return "; ".join(messages) or error.detail


async def send_error(scope: Scope, send: Send, error: SwellError) -> None:
    """Answer the request *scope* with *error*, from a middleware."""
    if scope["path"].startswith("/v2"):
        body = oci_body(error)
    else:
        body = msgspec.json.encode(_body(str(error), error.code, error.side, error.advice))
    fields = {"content-type": "application/json", "content-length": str(len(body))} | headers_of(error)
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    sent = b"" if scope.get("method") == "HEAD" else body
    await send({"type": "http.response.body", "body": sent, "more_body": False})


def _body(message: str, code: str, side: Side, advice: str) -> ErrorBody:
    trace = current_trace()
    return ErrorBody(
        message=message,
        code=code,
        side=side.value,
        next=advice,
        request_id=trace.request_id,
        trace_id=trace.trace_id,
    )
