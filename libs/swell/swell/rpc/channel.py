"""The client side of gRPC: a channel, and calls with a deadline and the trace of the request."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import grpc

from swell.errors import SwellError
from swell.instruments import Durations, measured
from swell.log import trace_headers
from swell.rpc.errors import reraised
from swell.spans import Kind, span

AUTHORIZATION = "authorization"
MAX_MESSAGE = 8 << 20  # bytes; a manifest may have 4 MiB
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.lb_policy_name", "round_robin"),  # over all addresses of a name, so that a dead replica costs one retry
]

SENT = Durations("swell_rpc_client_seconds", "Calls to another service.", ("callee", "code"))

Q_contra = TypeVar("Q_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)
Q = TypeVar("Q")
A = TypeVar("A")


class Method(Protocol[Q_contra, A_co]):
    """A unary method of a generated stub."""

    def __call__(
        self, request: Q_contra, *, timeout: float, metadata: tuple[tuple[str, str], ...], wait_for_ready: bool
    ) -> Awaitable[A_co]: ...


class _SendToken(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds the token of the services to each call."""

    def __init__(self, token: str) -> None:
        self._metadata = (AUTHORIZATION, f"Bearer {token}")

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = (*(details.metadata or ()), self._metadata)
        return await continuation(details._replace(metadata=metadata), request)


@asynccontextmanager
async def connect(address: str, token: str = "") -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to `host:port`; calls are spread over all addresses of the name.

    It connects at the first call, and again after a broken connection.

    *token* is the shared secret of the services, if the called one requires it.
    """
    interceptors = [_SendToken(token)] if token else []
    async with grpc.aio.insecure_channel(address, options=_OPTIONS, interceptors=interceptors) as channel:
        yield channel


async def call(callee: str, method: Method[Q, A], request: Q, *, seconds: float) -> A:
    """Call *method* of the service *callee*; wait at most *seconds*, also while the service starts.

    Raises:
        SwellError: the service raised it.
        Unavailable: there is no response in time.
    """
    with span(f"call {callee}", Kind.CLIENT), measured(SENT, callee, unless_set="CANCELLED") as outcome:
        metadata = tuple(trace_headers().items())
        try:
            async with reraised(callee):
                answer = await method(request, timeout=seconds, metadata=metadata, wait_for_ready=True)
        except Exception as error:
            outcome.value = error.code if isinstance(error, SwellError) else "UNKNOWN"
            raise
        outcome.value = "OK"
        return answer
