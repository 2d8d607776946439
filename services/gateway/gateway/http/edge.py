"""The outermost application: what every request has in common, in one pass.

Pulls are most of the requests, so those under `/v2` do not pass the framework and its middleware.
"""

import time
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.http.asgi import PIECE, send_in_pieces
from gateway.http.errors import send_error
from gateway.http.request_checks import head_error
from gateway.http.request_log import log_request
from gateway.http.request_metrics import record, record_span
from gateway.http.security_headers import (
    FOR_CRAWLERS,
    MAX_USER_AGENT,
    Headers,
    content_policy,
    is_crawler,
    refuse_crawler,
    security_headers,
)
from swell.concurrency.drain import Running
from swell.errors import Unavailable
from swell.log import current_trace, new_id, tracing, tracing_as
from swell.spans import new_trace

NEW_WORK = frozenset({"POST", "PUT"})
STOPPING = "this server is stopping: send the request again, to another one"


class Edge:
    """Sends requests under `/v2` to *registry*, and all others to *app*.

    Each request gets an id, which its response has as `X-Request-Id`, a trace of its own, which is linked to that of
    the client, and a line in the log. Crawlers, and requests with a head that is malformed or too large, are refused.
    *tls* says whether clients use https. WebSockets are for *pairing*;
    without it they are refused.
    """

    def __init__(self, registry: ASGIApp, app: ASGIApp, *, pairing: ASGIApp | None = None, tls: bool = False) -> None:
        self._pairing = pairing
        self._registry = registry
        self._app = app
        self._headers = security_headers(tls=tls)
        self._is_draining = False
        self.running = Running()
        """The requests that are being answered; health checks do not count as recent ones."""

    def start_drain(self) -> None:
        """Refuse new work, and ask clients to connect to another gateway for their next request."""
        self._is_draining = True
        self._headers = [*self._headers, (b"connection", b"close")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            with tracing(new_id()):
                await self._serve_socket(scope, receive, send)
            return
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        path, method, started = scope["path"], scope["method"], time.perf_counter()
        user_agent, traceparent = b"", None
        for name, value in scope["headers"]:
            if name == b"user-agent":
                user_agent = value
            elif name == b"traceparent":
                traceparent = value.decode("ascii", "replace")
        request_id = new_id()
        sending = _Sending(send, [*self._headers, (b"x-request-id", request_id.encode())])
        running = self.running
        running.count += 1
        try:
            with tracing_as(new_trace(request_id)):
                if is_crawler(user_agent[:MAX_USER_AGENT]) and path != FOR_CRAWLERS:
                    await refuse_crawler(sending)
                elif (error := head_error(scope)) is not None:
                    await send_error(scope, sending, error)
                elif path.startswith("/v2/") or path == "/v2":
                    await self._registry(scope, receive, sending)
                elif self._is_draining and method in NEW_WORK:
                    await send_error(scope, sending, Unavailable(STOPPING, retry_after=1))
                else:
                    await self._app(scope, receive, sending)
                seconds = time.perf_counter() - started
                running.last = running.last if path.startswith("/health") else started + seconds
                record(scope, method, sending.status, seconds)
                log_request(method, path, sending.status, seconds, traceparent)
                if current_trace().sampled:
                    record_span(scope, method, sending.status, seconds, traceparent)
        finally:
            running.count -= 1

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._pairing and head_error(scope) is None:  # type: ignore[arg-type]
            await self._pairing(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before the handshake: status 403


class _Sending:
    """Sends the messages of a response with additional *headers*; `status` is 0 until the response has started.

    A body that is sent at once goes in pieces, so that the server buffers only one of them for a client that stalls.
    A response that is streamed has small pieces already.
    """

    __slots__ = ("_headers", "_send", "status")

    def __init__(self, send: Send, headers: Headers) -> None:
        self._send = send
        self._headers = headers
        self.status = 0

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"]
            message["headers"] = [*headers, *self._headers, *content_policy(headers)]
        elif len(message.get("body", b"")) > PIECE and not message.get("more_body"):
            await send_in_pieces(self._send, message)
            return
        await self._send(message)
