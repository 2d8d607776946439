"""One error across a call: a gRPC status plus the `swell-code` trailer there, the same class again here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from swell import errors
from swell.errors import SwellError, Unavailable
from swell.log import log

_CLASSES = {cls.__name__: cls for cls in errors.every_class()}
_LONGEST = 2000  # bytes of a message; each may become three, and gRPC drops a call with more than 8 KiB of trailers
_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.FAILED_PRECONDITION,
    503: grpc.StatusCode.UNAVAILABLE,
}


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    """End the call with *error*; what nobody foresaw goes to the log and leaves as UNKNOWN."""
    if not isinstance(error, SwellError):
        log.error("call failed", exc_info=error)
        error = SwellError()
    trailer = [("swell-code", type(error).__name__)]
    if error.retry_after is not None:
        trailer.append(("retry-after", str(error.retry_after)))
    await context.abort(_STATUS.get(error.status, grpc.StatusCode.UNKNOWN), _short(error), tuple(trailer))


def _short(error: SwellError) -> str:
    return str(error).encode()[:_LONGEST].decode(errors="ignore")


@asynccontextmanager
async def raised_again(callee: str) -> AsyncIterator[None]:
    """Turn the failure of a call inside into the class that was raised on the other side.

    Raises:
        Unavailable: *callee* cannot be reached, or gave no answer in time.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        trailer = dict(error.trailing_metadata() or ())
        if cls := _CLASSES.get(str(trailer.get("swell-code"))):
            retry_after = trailer.get("retry-after")
            raise cls(error.details() or "", retry_after=int(retry_after) if retry_after else None) from error
        if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            raise Unavailable(f"the {callee} does not answer") from error
        raise
