"""Security headers for browsers, and the refusal of crawlers.

The crawlers are the ones that Wave refuses.

Source: OWASP, "HTTP Security Response Headers Cheat Sheet",
https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from litestar.types import Send

Headers = list[tuple[bytes, bytes]]

_CRAWLERS = re.compile(
    rb"googlebot|bingbot|yandexbot|baiduspider|duckduckbot|slurp|facebot|twitterbot|mj12bot|ahrefsbot", re.IGNORECASE
)
FOR_CRAWLERS = "/robots.txt"
MAX_USER_AGENT = 512
"""Bytes of a user agent that are looked at: the server accepts 400 KiB, and the cache stores each one."""
_HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_TLS_ONLY = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
# `sandbox`: a response that a browser shows as a document has an opaque origin, and runs no scripts.
POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox")


def security_headers(*, tls: bool) -> Headers:
    """The headers of every response but the content policy; *tls* says whether clients use https."""
    return [*_HEADERS, _TLS_ONLY] if tls else [*_HEADERS]


def content_policy(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The content policy for a response with *headers*; none if the response has its own."""
    return [] if any(name == POLICY[0] for name, _ in headers) else [POLICY]


@lru_cache(256)
def is_crawler(user_agent: bytes) -> bool:
    return _CRAWLERS.search(user_agent) is not None


async def refuse_crawler(send: Send) -> None:
    """Send 405 without a body, as Wave does."""
    await send({"type": "http.response.start", "status": 405, "headers": [(b"allow", b""), (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
