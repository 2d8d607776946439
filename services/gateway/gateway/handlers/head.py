"""HEAD: whatever answers GET answers HEAD the same, but for the body. `/v2` has its own."""

from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send


class HeadAsGet:
    """Wraps an application that knows GET only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD" or scope["path"].startswith("/v2"):
            await self._app(scope, receive, send)
            return

        async def without_body(message: Any) -> None:
            await send(message | {"body": b""} if message["type"] == "http.response.body" else message)

        scope["method"] = "GET"
        scope.setdefault("state", {})["is_head"] = True
        await self._app(scope, receive, without_body)
