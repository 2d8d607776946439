"""Security headers for browsers, and a refusal for crawlers.

The crawlers are the ones that Wave refuses.

Source: OWASP, "HTTP Security Response Headers Cheat Sheet",
https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
"""

import re
from functools import lru_cache
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.http.asgi import PIECE, send_in_pieces

_CRAWLERS = re.compile(
    rb"googlebot|bingbot|yandexbot|baiduspider|duckduckbot|slurp|facebot|twitterbot|mj12bot|ahrefsbot", re.IGNORECASE
)
_FOR_CRAWLERS = "/robots.txt"
_HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_TLS_ONLY = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
# `sandbox`: a response that a browser shows as a document has an opaque origin, and runs no scripts.
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox")


class SecurityHeaders:
    """Wraps an application; *tls* says whether clients use https. A response may set its own content policy."""

    def __init__(self, app: ASGIApp, *, tls: bool) -> None:
        self._app = app
        self._headers = [*_HEADERS, _TLS_ONLY] if tls else [*_HEADERS]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                policy = () if any(name == _POLICY[0] for name, _ in headers) else (_POLICY,)
                message["headers"] = [*headers, *self._headers, *policy]
            elif len(message.get("body", b"")) > PIECE:
                await send_in_pieces(send, message)
                return
            await send(message)

        if scope["path"] != _FOR_CRAWLERS and _is_crawler(scope["headers"]):
            await _refuse(send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def _is_crawler(headers: Any) -> bool:
    return any(name == b"user-agent" and _names_a_crawler(value) for name, value in headers)


@lru_cache(256)
def _names_a_crawler(user_agent: bytes) -> bool:
    return _CRAWLERS.search(user_agent) is not None


async def _refuse(send: Any) -> None:
    """Send 405 without a body, as Wave does."""
    headers = [(b"allow", b""), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 405, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
