"""The outermost application: what every request has in common, in one pass.

Pulls and container requests are most of the requests, so they do not pass the framework and its middleware.
"""

import time
from typing import Any, Protocol

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from gateway.http.asgi import PIECE, send_in_pieces
from gateway.http.errors import send_error
from gateway.http.middleware.request_checks import Head
from gateway.http.middleware.request_log import log_request
from gateway.http.middleware.request_metrics import record, record_span
from gateway.http.middleware.security_headers import (
    FOR_CRAWLERS,
    MAX_USER_AGENT,
    POLICY,
    Headers,
    content_policy,
    is_crawler,
    refuse_crawler,
    security_headers,
)
from gateway.http.registry_responses import RegistryResponse
from swell.concurrency.drain import Running
from swell.errors import Unavailable
from swell.log import current_trace, new_id, tracing, tracing_as
from swell.observe.spans import new_trace

NEW_WORK = frozenset({"POST", "PUT"})
SUBMITS = frozenset({"/v1alpha2/container", "/container-token"})
"""The paths of container requests. Other spellings, such as with a final slash, are for the framework."""
STOPPING = "this server is stopping: send the request again, to another one"


class RecentAnswers(Protocol):
    def answer(self, scope: HTTPScope) -> RegistryResponse | None:
        """The answer to a request without a condition, if it needs no waiting."""


class Edge:
    """Sends requests under `/v2` to *registry*, container requests to *submit*, and all others to *app*.

    What *recent* answers needs none of them.

    Each request gets an id, which its response has as `X-Request-Id`, a trace of its own, which is linked to that of
    the client, and a line in the log. Crawlers, and requests with a head that is malformed or too large, are refused.
    *tls* says whether clients use https. WebSockets are for *pairing*;
    without it they are refused.
    """

    def __init__(
        self,
        registry: ASGIApp,
        app: ASGIApp,
        recent: RecentAnswers | None = None,
        *,
        submit: ASGIApp | None = None,
        pairing: ASGIApp | None = None,
        tls: bool = False,
    ) -> None:
        self._recent = recent
        self._submit = submit or app
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
        head, request_id, running = Head(scope), new_id(), self.running
        headers = [*self._headers, (b"x-request-id", request_id.encode())]
        running.count += 1
        try:
            with tracing_as(new_trace(request_id)):
                if (answer := self._recent_answer(scope, head)) is not None:
                    status = await _send_answer(send, answer, headers, method)
                else:
                    status = await self._answer(scope, receive, _Sending(send, headers), head)
                seconds = time.perf_counter() - started
                running.last = running.last if path.startswith("/health") else started + seconds
                record(scope, method, status, seconds)
                log_request(method, path, status, seconds, head.traceparent)
                if current_trace().sampled:
                    record_span(scope, method, status, seconds, head.traceparent)
        finally:
            running.count -= 1

    def _recent_answer(self, scope: HTTPScope, head: Head) -> RegistryResponse | None:
        if self._recent is None or head.error or head.is_conditional or is_crawler(head.user_agent[:MAX_USER_AGENT]):
            return None
        return self._recent.answer(scope)

    async def _answer(self, scope: HTTPScope, receive: Receive, sending: "_Sending", head: Head) -> int:
        """Let a part of the gateway answer; return the status, 0 if the client has closed the connection before."""
        path = scope["path"]
        if is_crawler(head.user_agent[:MAX_USER_AGENT]) and path != FOR_CRAWLERS:
            await refuse_crawler(sending)
        elif head.error:
            await send_error(scope, sending, head.error)
        elif path.startswith("/v2/") or path == "/v2":
            await self._registry(scope, receive, sending)
        elif self._is_draining and scope["method"] in NEW_WORK:
            await send_error(scope, sending, Unavailable(STOPPING, retry_after=1))
        elif path in SUBMITS and scope["method"] == "POST":
            await self._submit(scope, receive, sending)
        else:
            await self._app(scope, receive, sending)
        return sending.status

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._pairing and Head(scope).error is None:  # type: ignore[arg-type]
            await self._pairing(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before the handshake: status 403


async def _send_answer(send: Send, answer: RegistryResponse, more: Headers, method: str) -> int:
    """Send a prepared *answer*; return its status."""
    status, headers, body = answer
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *more, POLICY]})
    await send({"type": "http.response.body", "body": body if method == "GET" else b"", "more_body": False})
    return status


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
