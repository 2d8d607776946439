"""Request ids, traces, and one log line per request."""

import re
import time
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from swell.log import log, new_id, tracing

_QUIET = ("/v2", "/health")  # requested up to thousands of times a second, so logged at level debug
_PULLS = "/v2/wt/"
_TOKEN = re.compile(r"(/(?:wt|container|container-token)/[^/]{0,4})[^/]*")


class RequestTracing:
    """Wraps an application; the response has the request's id as `X-Request-Id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id, traceparent = new_id(), None
        for name, value in scope["headers"]:
            if name == b"traceparent":
                traceparent = value.decode("ascii", "replace")
        scope.setdefault("state", {})["request_id"] = request_id
        with tracing(request_id, traceparent):
            await self._handle(scope, receive, send, request_id)

    async def _handle(self, scope: HTTPScope, receive: Receive, send: Send, request_id: str) -> None:
        started, status = time.perf_counter(), 0
        path = scope["path"]  # read first: a mount shortens it

        async def send_with_id(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)
        write_line = log.debug if path.startswith(_QUIET) and status < 400 else log.info
        seconds = round(time.perf_counter() - started, 4)
        write_line("request answered", method=scope["method"], path=shown(path), status=status, seconds=seconds)


def shown(path: str) -> str:
    """*path* with the first four characters of a token only, so that readers of the log cannot pull."""
    if path.startswith(_PULLS):  # a fast path for pulls
        start = len(_PULLS)
        return f"{path[: start + 4]}…{path[slash:]}" if (slash := path.find("/", start + 4)) > 0 else f"{_PULLS}…"
    return _TOKEN.sub(r"\1…", path)
