"""Errors in gRPC: a status and the `swell-code` trailer; the client raises the same class again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from swell.errors import Unavailable
from swell.failures import Failure

CODE = "swell-code"
"""The trailer with the class of an error of a service."""
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
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    """End the call with *error*; an unexpected exception is logged, and sent as UNKNOWN."""
    failure = Failure.of(error)
    trailer = [(CODE, failure.kind)]
    if failure.retry_after is not None:
        trailer.append(("retry-after", str(failure.retry_after)))
    status = _STATUS.get(failure.error.status, grpc.StatusCode.UNKNOWN)
    await context.abort(status, _short(failure.message), tuple(trailer))


def _short(message: str) -> str:
    return message.encode()[:_LONGEST].decode(errors="ignore")


@asynccontextmanager
async def reraised(callee: str) -> AsyncIterator[None]:
    """Raise the error of a call in the block as the class that the service raised.

    Raises:
        Unavailable: *callee* is unreachable, or did not respond in time.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        trailer = dict(error.trailing_metadata() or ())
        if kind := trailer.get(CODE):
            retry_after = trailer.get("retry-after")
            failure = Failure(str(kind), error.details() or "", int(retry_after) if retry_after else None)
            raise failure.error from error
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise Unavailable(f"the {callee} refuses the SWELL_RPC_TOKEN of this service") from error
        if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            raise Unavailable(f"the {callee} does not answer") from error
        raise
