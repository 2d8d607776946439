"""Request bodies: JSON of limited size, received at a minimum rate."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TypeVar

from litestar import Request
from litestar.types import Receive, Scope

from gateway.http.large_bodies import SMALL, reservation_of
from swell.api.lenient import decode
from swell.errors import BadRequest, MediaTypeUnsupported, RequestSlow, TooLarge

T = TypeVar("T")
HttpRequest = Request[Any, Any, Any]

JSON = "application/json"
MAX_BODY = 24 << 20  # bytes; Wave's command line sends up to 20 MiB: layers and a build context
LARGE = 64 << 10  # bytes; smaller bodies with any content are decoded in a few milliseconds
SILENCE = 30  # seconds without a byte; also how long a body may take before the minimum rate applies
MIN_RATE = 1 << 10  # bytes per second on average
LARGE_RATE = 64 << 10  # the same for a body with a reservation, which other requests wait for
MAX_SECONDS = 600  # for a whole body, at any rate
_MAX_DRAINED = 50 << 20
_MAX_DIGITS = 20
_DRAIN_SECONDS = 30


async def read(request: HttpRequest, kind: type[T], empty: bytes = b"null") -> T:
    """Decode the JSON body of *request* as *kind*; raises the errors of `read_json`."""
    return await read_json(request.scope, request.receive, kind, empty)


async def read_json(scope: Scope, receive: Receive, kind: type[T], empty: bytes = b"null") -> T:
    """Decode the JSON body of the request *scope* as *kind*; without a body, *empty*.

    Raises:
        BadRequest: the body is not JSON, or a member has the wrong type; the message names the member.
        MediaTypeUnsupported, RequestSlow, TooLarge: see `read_body`.
    """
    body = await read_body(scope, receive) or empty
    if len(body) > LARGE:
        return await asyncio.to_thread(decode, body, kind)  # the event loop serves other requests meanwhile
    return decode(body, kind)


async def read_body(scope: Scope, receive: Receive, media_type: str = JSON) -> bytes:
    """The body of the request *scope*, at most `MAX_BODY` bytes of *media_type*.

    Up to 50 MiB of a larger body are read and dropped: many clients send the whole body before they read a response,
    and would otherwise see a closed connection instead of the error. Nothing is read of a body that `Content-Length`
    says to be larger still. The memory for a body of more than `SMALL` bytes is reserved until the request is answered.

    Raises:
        BadRequest: the client closes the connection before the end.
        MediaTypeUnsupported: `Content-Type` is another one.
        RequestSlow: nothing arrives for 30 s, or the average rate is below 1 KiB per second, 64 KiB for a large body.
        TooLarge: the body is larger.
        Unavailable: there is no memory for a large body at the moment.
    """
    (declared, content_type), reservation = _described(scope["headers"]), reservation_of(scope)
    if declared > _MAX_DRAINED:
        raise _too_large()
    if SMALL < declared <= MAX_BODY:
        await reservation.take(declared)
    size, pieces, more, started = 0, list[bytes](), True, time.monotonic()
    while more and size <= _MAX_DRAINED:
        rate = LARGE_RATE if reservation.size else MIN_RATE
        remaining = started + min(SILENCE + size / rate, MAX_SECONDS) - time.monotonic()
        piece, more = await _receive_piece(receive, remaining, rate)
        size += len(piece)
        more = more and size != declared  # the server would say in one more message that the body has ended
        if max(size, declared) > MAX_BODY:
            pieces.clear()
            reservation.give_back()
            continue
        if size > max(SMALL, reservation.size):  # its size was not declared
            await reservation.take(MAX_BODY)
            started = time.monotonic()
        pieces.append(piece)
    if size > MAX_BODY:
        raise _too_large()
    if size:  # some clients send a type with an empty body
        _check_media_type(content_type, media_type)
    return b"".join(pieces)


def _too_large() -> TooLarge:
    return TooLarge(f"the request is larger than {MAX_BODY >> 20} MiB")


def _described(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, str]:
    """The `Content-Length` and the `Content-Type` in *headers*; 0 and "" if they are missing.

    The length of a chunked body is not declared, even if it has a `Content-Length`.
    Source: RFC 9112, 6.3 "Message Body Length", https://www.rfc-editor.org/rfc/rfc9112#section-6.3
    """
    length, content_type, chunked = b"", b"", False
    for name, value in headers:
        if name == b"content-length":
            length = value
        elif name == b"content-type":
            content_type = content_type or value
        elif name == b"transfer-encoding":
            chunked = True
    declared = int(length) if length.isdigit() and len(length) <= _MAX_DIGITS and not chunked else 0
    return declared, content_type.decode("latin-1")


def _check_media_type(content_type: str, expected: str) -> None:
    """Check that *content_type* is empty or *expected*.

    A browser lets any web page send text and forms to this server, but JSON only with this server's permission (CORS).
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in {"", expected}:
        raise MediaTypeUnsupported(f"the request body is said to be {media_type[:80]!r}; this server takes {expected}")


async def _receive_piece(receive: Receive, remaining: float, rate: int) -> tuple[bytes, bool]:
    """The next piece of a body that may take *remaining* seconds more at *rate*, and whether more pieces follow."""
    try:
        async with asyncio.timeout(max(0, min(SILENCE, remaining))):
            message = await receive()
    except TimeoutError as error:
        if remaining < SILENCE:
            raise RequestSlow(f"the request's body comes at less than {rate} bytes a second") from error
        raise RequestSlow(f"nothing of the request's body came for {SILENCE} s") from error
    if message["type"] != "http.request":
        raise BadRequest("the request breaks off before its end")
    return message.get("body", b""), message.get("more_body", False)


async def drain(receive: Receive) -> None:
    """Read and drop the body of a refused request, at most 50 MiB and for at most 30 s."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while size <= _MAX_DRAINED:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                size += len(message.get("body", b""))
