"""Methods that Litestar handles differently: HEAD and OPTIONS.

HEAD gets the response of GET without its body. OPTIONS gets 405: pages of other origins may not call this server.
"""

from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send


class HeadAsGet:
    """Wraps an application that knows GET only, and that would answer OPTIONS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "OPTIONS":
            scope = cast(Scope, {**scope, "method": "NONE"})  # gives 405 with the allowed methods
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Any) -> None:
            await send(message | {"body": b""} if message["type"] == "http.response.body" else message)

        scope["method"] = "GET"
        scope.setdefault("state", {})["is_head"] = True
        await self._app(scope, receive, send_without_body)
