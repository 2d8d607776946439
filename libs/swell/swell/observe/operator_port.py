"""The operator port of a service: `/metrics`, `/live` and `/ready` over HTTP, for the operator's network only.

It is served by a thread, so that a scrape delays no request, and `/live` still answers when the event loop is blocked.

Source: Prometheus, "Exposition formats", https://prometheus.io/docs/instrumenting/exposition_formats/
Source: Kubernetes, "Liveness, Readiness and Startup Probes", https://kubernetes.io/docs/concepts/workloads/pods/probes/
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from threading import BoundedSemaphore, Thread, Timer
from typing import Any, NamedTuple

import msgspec
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from swell.concurrency.background import background
from swell.errors import SwellError, Unavailable
from swell.log import log
from swell.observe import instruments
from swell.serve import Address, address

OFF = "off"
CONNECTIONS = 16  # at once; further ones are closed
CLIENT_SECONDS = 5.0  # that a client may take between two parts of its request
CONNECTION_SECONDS = 30.0  # for the whole of a request and its answer
ANSWER_SECONDS = 5.0  # for an answer of the event loop
LAG_INTERVAL = 1.0  # seconds

LAG = instruments.Durations(
    "swell_event_loop_lag_seconds", "How late the event loop runs a task that is due each second.", ()
)

Readiness = Callable[[], Awaitable[Mapping[str, Any]]]
"""Returns the body of a positive answer; raises `SwellError` if the service is not ready, with the reason."""


class OperatorPort:
    """What the port answers; `ready` is called for each request to `/ready`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ready: Readiness = _starting
        self._loop = loop

    def is_alive(self) -> bool:
        """Whether the event loop runs a task within 5 s. Backends do not matter: a restart would not help them."""
        return self._run(_nothing()) is not None

    def readiness(self) -> tuple[int, Mapping[str, Any]]:
        """The status and the body of `/ready`."""
        return self._run(self._readiness()) or (503, {"status": "DOWN", "reason": "the service does not answer"})

    async def _readiness(self) -> tuple[int, Mapping[str, Any]]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return 200, await self.ready()
        except (SwellError, TimeoutError) as error:
            return 503, {"status": "DOWN", "reason": str(error) or "a check takes too long"}

    def _run(self, work: Any) -> Any:
        """Run *work* in the event loop; None if that is blocked or closed."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            return None
        try:
            return future.result(ANSWER_SECONDS + 1)
        except (TimeoutError, asyncio.CancelledError):
            future.cancel()
            return None


@asynccontextmanager
async def operator_port(service: str, listen: str) -> AsyncIterator[OperatorPort]:
    """Serve the operator port of *service* at *listen* (`host:port`, or `off`) while the block runs.

    Until the block sets `ready`, `/ready` answers 503. A port that is in use is logged and not served: the service is
    more important than its metrics.
    """
    instruments.INFO.labels(service, version("swell")).set(1)
    port = OperatorPort(asyncio.get_running_loop())
    server = None if listen == OFF else _open(address(listen), port)
    if server is None:
        yield port
        return
    thread = Thread(target=server.serve_forever, name="operator-port", daemon=True)
    thread.start()
    try:
        async with background(_measure_lag()):
            yield port
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


def _open(where: Address, port: OperatorPort) -> "_Server | None":
    try:
        server = _Server(where, port)
    except OSError as error:
        log.warning("metrics not exposed", host=where.host, port=where.port, error=error.strerror or str(error))
        return None
    log.info("metrics exposed", host=where.host, port=server.server_address[1])
    return server


async def _measure_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_INTERVAL
        await asyncio.sleep(LAG_INTERVAL)
        LAG.observe(max(0.0, loop.time() - due))


async def _nothing() -> bool:
    return True


async def _starting() -> Mapping[str, Any]:
    raise Unavailable("the service starts")


class _Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


class _Server(ThreadingHTTPServer):
    """One thread for each of at most `CONNECTIONS` connections."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, where: Address, port: OperatorPort) -> None:
        self.address_family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        self.port = port
        self._free = BoundedSemaphore(CONNECTIONS)
        super().__init__(where, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        deadline = Timer(CONNECTION_SECONDS, _end, (request,))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore it: the client has closed the connection, or is too slow."""

    def server_bind(self) -> None:
        """Bind without looking up the name of the host, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()


def _end(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_SECONDS
    server: _Server
    server_version, sys_version = "swell", ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answer = self._answer(path)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _answer(self, path: str) -> _Answer:
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept") or "")
            return _Answer(200, content_type, encode(REGISTRY))
        if path == "/live":
            return _json(200, {"status": "UP"}) if self.server.port.is_alive() else _json(503, {"status": "DOWN"})
        if path == "/ready":
            return _json(*self.server.port.readiness())
        return _json(404, {"message": "this port serves /metrics, /live and /ready"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (a name of the standard library)
        """Log no requests: probes and scrapes arrive every few seconds."""


def _json(status: int, body: Mapping[str, Any]) -> _Answer:
    return _Answer(status, "application/json", msgspec.json.encode(body))
