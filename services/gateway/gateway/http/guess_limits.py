"""Rate limit for guessing ids in paths: of requests, tokens, builds and scans. `/v2` has its own limit."""

import re
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.http.caller import Callers
from gateway.http.errors import send_error
from swell.errors import TooManyRequests

_ID = re.compile(
    "/+(?:container-token|v1alpha2/+container|v1alpha1/+(?:builds|mirrors|scans)|view/+(?:builds|containers|mirrors|scans))"
    "/+([^/]+)"
)


class GuessLimits:
    """Wraps an application: a 404 for an id in a path counts as a guess of the client's address.

    An address with too many guesses gets 429 before *app* is called, except for ids that were valid here recently.
    """

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app = app
        self._guess_limiter = callers.guess_limiter
        self._address = callers.address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == ScopeType.HTTP else ""
        if (match := _ID.match(path)) is None or self._guess_limiter.is_known(match[1]):
            await self._app(scope, receive, send)
            return
        address, secret = self._address(scope), match[1]
        try:
            self._guess_limiter.check(address)
        except TooManyRequests as error:
            await send_error(scope, send, error)
            return

        async def send_and_count(message: Any) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == 404:
                    self._guess_limiter.count_miss(address, secret)
                elif message["status"] < 400:
                    self._guess_limiter.remember(secret)
            await send(message)

        await self._app(scope, receive, send_and_count)
