"""The bodies of requests: bounded, and read as Wave's clients write them."""

import asyncio
import time
from contextlib import suppress
from typing import Any, TypeVar

from litestar import Request
from litestar.types import Receive

from swell.api.lenient import decode
from swell.errors import BadRequest, MediaTypeUnsupported, RequestSlow, TooLarge

T = TypeVar("T")

MAX_BODY = 10 << 20  # bytes of a request
LARGE = 64 << 10  # bytes; they are read in some milliseconds, whatever they say
SILENCE = 30  # seconds without a byte; also how long a body may take before its rate counts
SLOWEST = 1 << 10  # bytes a second on average
LONGEST = 600  # seconds for a whole body, at whatever rate
_DRAINED = 5 * MAX_BODY
_DRAINED_SECONDS = 30


async def read(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The JSON body of *request* as *kind*.

    Raises:
        BadRequest: it is no JSON, or a member cannot be read; the message names the place.
        MediaTypeUnsupported, RequestSlow, TooLarge: as in `read_body`.
    """
    body = await read_body(request)
    if len(body) > LARGE:
        return await asyncio.to_thread(decode, body, kind)  # others are answered meanwhile
    return decode(body, kind)


def _check_type(told: str) -> None:
    """See that a body is said to be JSON, or that nothing is said of it.

    A page of anybody's may have a browser send texts and forms to us, but JSON only if we said that it may.
    """
    kind = told.partition(";")[0].strip().lower()
    if kind not in {"", "application/json"}:
        raise MediaTypeUnsupported(f"the request body is said to be {kind[:80]!r}; application/json is taken")


async def read_body(request: Request[Any, Any, Any]) -> bytes:
    """The body of at most `MAX_BODY` bytes. More is read and dropped, within reason: many clients write all before they
    read any answer, and a connection that is closed before says nothing to them.

    Raises:
        BadRequest: it breaks off.
        MediaTypeUnsupported: it is said not to be JSON.
        RequestSlow: nothing of it comes for half a minute, or it comes too slowly.
        TooLarge: it is larger.
    """
    size, pieces, more, started = 0, list[bytes](), True, time.monotonic()
    while more and size <= _DRAINED:
        left = started + min(SILENCE + size / SLOWEST, LONGEST) - time.monotonic()
        piece, more = await _next(request.receive, left)
        size += len(piece)
        if size <= MAX_BODY:
            pieces.append(piece)
    if size > MAX_BODY:
        raise TooLarge(f"the request is larger than {MAX_BODY >> 20} MiB")
    if size:  # some clients give a type to nothing at all
        _check_type(request.headers.get("content-type", ""))
    return b"".join(pieces)


async def _next(receive: Receive, left: float) -> tuple[bytes, bool]:
    """The next piece of a body that may take *left* seconds more, and whether there are more pieces."""
    try:
        async with asyncio.timeout(max(0, min(SILENCE, left))):
            message = await receive()
    except TimeoutError as error:
        if left < SILENCE:
            raise RequestSlow(f"the request's body comes at less than {SLOWEST} bytes a second") from error
        raise RequestSlow(f"nothing of the request's body came for {SILENCE} s") from error
    if message["type"] != "http.request":
        raise BadRequest("the request breaks off before its end")
    return message.get("body", b""), message.get("more_body", False)


async def drain(receive: Receive) -> None:
    """Read and drop the body of a request that is refused whatever it says, within reason and half a minute."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_SECONDS):
            while size <= _DRAINED:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                size += len(message.get("body", b""))
