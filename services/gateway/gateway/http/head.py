"""Methods that Litestar has its own mind of: whatever answers GET answers HEAD the same, but for the body, and nothing
answers OPTIONS, for pages of other origins may not ask here. `/v2` has its own."""

from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send


class HeadAsGet:
    """Wraps an application that knows GET only, and would answer OPTIONS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "OPTIONS":
            scope = cast(Scope, {**scope, "method": "NONE"})  # 405, with the methods that there are
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD" or scope["path"].startswith("/v2"):
            await self._app(scope, receive, send)
            return

        async def without_body(message: Any) -> None:
            await send(message | {"body": b""} if message["type"] == "http.response.body" else message)

        scope["method"] = "GET"
        scope.setdefault("state", {})["is_head"] = True
        await self._app(scope, receive, without_body)
