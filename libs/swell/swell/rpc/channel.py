"""The client side of gRPC: a channel, and calls with a deadline and the trace of the request."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, TypeVar, cast

import grpc

from swell.errors import SwellError
from swell.log import trace_headers
from swell.observe.instruments import Durations, measured
from swell.observe.spans import Kind, span
from swell.rpc.errors import CODE, reraised
from swell.rpc.replicas import Replicas
from swell.rpc.settings import ON_LOOPBACK, RpcSettings

AUTHORIZATION = "authorization"
MAX_MESSAGE = 8 << 20  # bytes; a manifest may have 4 MiB
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.min_reconnect_backoff_ms", 3000),  # how long a connection to a machine that does not answer may take
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 5000),  # a machine that is gone breaks its calls after 8 s
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.dns_min_time_between_resolutions_ms", 5000),
    ("grpc.lb_policy_name", "round_robin"),  # over all addresses of a name, so that a dead replica costs one retry
]

BROKEN = 3  # attempts of a call whose connection breaks: the call itself might crash its replica
PAUSE, LONGEST_PAUSE = 0.02, 0.5  # seconds between attempts, doubled each time

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
async def connect(address: str, settings: RpcSettings = ON_LOOPBACK) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to `host:port`, or to several, separated by commas; calls are spread over all their addresses.

    It connects at the first call, and again after a broken connection.

    The certificate of the called service must be for the host of *address*.

    Raises:
        SettingsInvalid: a file of *settings* cannot be read.
    """
    interceptors = [_SendToken(settings.token)] if settings.token else []
    async with AsyncExitStack() as opened:
        channels = [
            await opened.enter_async_context(
                channel_to(each.strip(), settings, options=_OPTIONS, interceptors=interceptors)
            )
            for each in address.split(",")
        ]
        yield channels[0] if len(channels) == 1 else cast(grpc.aio.Channel, Replicas(channels))


def channel_to(address: str, settings: RpcSettings, **options: Any) -> grpc.aio.Channel:
    """Return a channel, with TLS if *settings* have certificates; raises `SettingsInvalid`."""
    if not settings.has_tls:
        return grpc.aio.insecure_channel(address, **options)
    authority, certificate, key = settings.files()
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority, key, certificate), **options)


async def call(callee: str, method: Method[Q, A], request: Q, *, seconds: float) -> A:
    """Call *method* of the service *callee*; wait at most *seconds*, also while the service starts.

    A call whose replica is gone is repeated on another one: all methods of services only read, or may be repeated.

    Raises:
        SwellError: the service raised it.
        Unavailable: there is no response in time.
    """
    with span(f"call {callee}", Kind.CLIENT), measured(SENT, callee, unless_set="CANCELLED") as outcome:
        metadata = tuple(trace_headers().items())
        try:
            async with reraised(callee):
                answer = await _repeated(method, request, seconds, metadata)
        except Exception as error:
            outcome.value = error.code if isinstance(error, SwellError) else "UNKNOWN"
            raise
        outcome.value = "OK"
        return answer


async def _repeated(method: Method[Q, A], request: Q, seconds: float, metadata: tuple[tuple[str, str], ...]) -> A:
    """Call *method*, again on another replica while one does not answer; raises the last error of gRPC."""
    until, broken, pause = time.monotonic() + seconds, 0, PAUSE
    while True:
        left = until - time.monotonic()
        try:
            return await method(request, timeout=max(left, 0.0), metadata=metadata, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            broken += not any(text in (error.details() or "") for text in _NOT_CONNECTED)
            if not _is_gone(error) or broken >= BROKEN or until - time.monotonic() <= pause:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


_NOT_CONNECTED = ("failed to connect", "connections to all backends failing", "Connection refused")


def _is_gone(error: grpc.aio.AioRpcError) -> bool:
    """Whether no service has answered: an error of a service has its code in a trailer."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and CODE not in dict(error.trailing_metadata() or ())
