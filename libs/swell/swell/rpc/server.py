"""The server side of gRPC: health checks, errors as statuses, and logs with the trace of the caller."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial, wraps
from hmac import compare_digest
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2_grpc

from swell.concurrency.deadline import SHARE, within
from swell.concurrency.drain import Drain
from swell.concurrency.periodic import owned
from swell.errors import SwellError, Unavailable
from swell.log import log, new_id, tracing
from swell.net.addresses import is_loopback
from swell.observe.health import ALWAYS, Health
from swell.observe.instruments import Durations
from swell.observe.spans import Kind, span
from swell.rpc.channel import AUTHORIZATION, MAX_MESSAGE
from swell.rpc.errors import abort
from swell.rpc.health import HealthServicer
from swell.rpc.settings import ON_LOOPBACK, RpcSettings
from swell.serve import Address
from swell.settings import SettingsInvalid

MIN_TOKEN = 32  # characters
GRACE = timedelta(seconds=10)  # for calls under way, without the drain of a service
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 2000),  # clients check their connections each 5 s
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_connection_age_ms", 300_000),  # then clients resolve the name again, and find new replicas
    ("grpc.max_connection_age_grace_ms", 120_000),
]

CALLS = Durations("swell_rpc_seconds", "Calls that this service has answered.", ("method", "code"))

A = TypeVar("A")
Q = TypeVar("Q")
S = TypeVar("S")
Context = grpc.aio.ServicerContext[Any, Any]


@asynccontextmanager
async def answering(
    where: Address,
    *register: Callable[[grpc.aio.Server], None],
    settings: RpcSettings = ON_LOOPBACK,
    health: Health | None = None,
    drain: Drain | None = None,
) -> AsyncIterator[None]:
    """Serve the servicers that *register* adds, and `grpc.health.v1.Health`, while the block runs.

    When *drain* starts, new calls are refused, so that clients connect to another replica; calls under way have its
    time to finish.

    Callers must send the token of *settings*, except for health checks, and need a certificate of its authority. Only
    on loopback both may be missing: elsewhere, everything that reaches the port could read private images.

    Raises:
        SettingsInvalid: *where* is not on loopback, and there is neither a token nor a certificate; the token is
            shorter than 32 characters; a file cannot be read.
        Unavailable: the port is in use.
    """
    token = settings.token
    if len(token) < MIN_TOKEN and (token or not (settings.has_tls or is_loopback(where.host))):
        raise SettingsInvalid(
            f"SWELL_RPC_TOKEN needs at least {MIN_TOKEN} characters, the same ones for all services, because "
            f"{where.host} is not a loopback address: create it with 'openssl rand -hex 32', or set SWELL_RPC_CA_FILE, "
            "SWELL_RPC_CERTIFICATE_FILE and SWELL_RPC_CERTIFICATE_KEY_FILE"
        )
    server = grpc.aio.server(options=_OPTIONS, interceptors=[_RequireToken(token)] if token else [])
    drain = drain or Drain(GRACE)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(health or Health(ALWAYS, drain=drain), drain), server)
    for add in register:
        add(server)
    try:
        _add_port(server, f"{where.host}:{where.port}", settings)
    except RuntimeError as error:
        raise Unavailable(f"cannot listen on {where.host}:{where.port}: {error}") from error
    await server.start()
    log.info("listening", host=where.host, port=where.port)
    try:
        async with owned(_stop_at(drain, server), event="server not stopped"):
            yield
    finally:
        await _stop(drain, server)


def _add_port(server: grpc.aio.Server, address: str, settings: RpcSettings) -> None:
    if not settings.has_tls:
        server.add_insecure_port(address)
        return
    authority, certificate, key = settings.files()
    server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)], authority, True))


async def _stop_at(drain: Drain, server: grpc.aio.Server) -> None:
    await drain.started.wait()
    await _stop(drain, server)


async def _stop(drain: Drain, server: grpc.aio.Server) -> None:
    stopping = asyncio.create_task(server.stop(drain.seconds))  # no group: the second stop ends it
    await drain.finish([stopping])
    await server.stop(None)


class _RequireToken(grpc.aio.ServerInterceptor):
    """Refuses calls without the token: their message, of at most `MAX_MESSAGE` bytes, is not decoded."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        self._refuse: Any = grpc.unary_unary_rpc_method_handler(_refuse)

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        if not details.method.startswith("/grpc.health."):
            sent = dict(details.invocation_metadata or ()).get(AUTHORIZATION, "")
            if not compare_digest(str(sent).encode(), self._expected):
                return self._refuse
        return await continuation(details)


async def _refuse(_request: object, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "SWELL_RPC_TOKEN of the caller is missing or another one")


def answers(work: Callable[[S, Q], Awaitable[A]]) -> Callable[[S, Q, Context], Awaitable[A]]:
    """Make the method *work* of a servicer answer the calls of its name; it needs no context. See `answer`."""

    @wraps(work)
    async def answered(servicer: S, request: Q, context: Context) -> A:
        return await answer(context, work.__name__, partial(work, servicer, request))

    return answered


async def answer(context: Context, method: str, work: Callable[[], Awaitable[A]]) -> A:
    """Run *work* for one call: set the trace of the caller, log one line, and send errors as statuses.

    *work* ends before the deadline of the caller, and its outbound requests still earlier, so that the caller gets the
    error that says what was slow.
    """
    sent: dict[str, Any] = dict(context.invocation_metadata() or ())
    started = time.perf_counter()
    with (
        tracing(str(sent.get("x-request-id") or new_id()), str(sent.get("traceparent", ""))),
        span(method, Kind.SERVER),
    ):
        code = "CANCELLED"
        try:
            result = await _in_time(context.time_remaining(), work)
            code = "OK"
        except Exception as error:
            code = error.code if isinstance(error, SwellError) else "UNKNOWN"
            log.info("call failed", method=method, code=code, error=str(error))
            await abort(context, error)
            raise
        finally:
            CALLS.observe(time.perf_counter() - started, method, code)
        log.debug("call answered", method=method, seconds=round(time.perf_counter() - started, 4))
        return result


async def _in_time(seconds: float | None, work: Callable[[], Awaitable[A]]) -> A:
    """Run *work* for a caller that waits for *seconds*.

    Raises:
        Unavailable: it has not ended shortly before that.
    """
    if seconds is None:
        return await work()
    try:
        async with asyncio.timeout(seconds * (1 + SHARE) / 2):
            with within(seconds * SHARE):
                return await work()
    except TimeoutError as error:
        raise Unavailable("the request takes too long; try again", retry_after=5) from error
