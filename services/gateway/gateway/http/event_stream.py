"""Responses of server-sent events, for clients that accept them.

Source: HTML Living Standard, 9.2 "Server-sent events", https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from time import monotonic
from typing import Any

from litestar import Request
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse, Stream
from litestar.types import Receive, Send

from swell.concurrency.background import background
from swell.log import log

MEDIA_TYPE = "text/event-stream"
SEND_TIMEOUT = 30.0  # seconds; a client that reads nothing for so long is disconnected, and may connect again

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"}


def accepts_events(request: Request[Any, Any, Any]) -> bool:
    """Whether `Accept` names server-sent events; a wildcard does not count."""
    for entry in request.headers.get("accept", "").lower().split(","):
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        if media_type == MEDIA_TYPE:
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters)
    return False


class EventStream(Stream):
    """A response of the events *first*, and then *others*, in pieces of whole events."""

    def __init__(self, first: bytes, others: AsyncIterator[bytes]) -> None:
        super().__init__(others, media_type=MEDIA_TYPE, headers=_HEADERS)
        self._first = first
        self._others = others

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        return _EventResponse(self._first, self._others)


class _EventResponse(ASGIStreamingResponse):
    def __init__(self, first: bytes, others: AsyncIterator[bytes]) -> None:
        super().__init__(iterator=others, media_type=MEDIA_TYPE, headers=_HEADERS)
        self._first = first
        self._others = others
        self._pending_since: float | None = None

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send the events until they end, the client disconnects, or it stalls."""
        async with background(self._send_all(send)) as sending, background(_wait_for_disconnect(receive)) as disconnect:
            await self._wait({sending, disconnect})
            if sending.done():
                sending.result()

    async def _wait(self, tasks: set[asyncio.Task[None]]) -> None:
        """Wait for the first of *tasks*, or a stall. It checks periodically: a timeout per send would cost more."""
        done: set[asyncio.Task[None]] = set()
        while not done and not self._is_stalled():
            done, _ = await asyncio.wait(tasks, timeout=SEND_TIMEOUT / 2, return_when=asyncio.FIRST_COMPLETED)

    def _is_stalled(self) -> bool:
        is_stalled = self._pending_since is not None and monotonic() - self._pending_since > SEND_TIMEOUT
        if is_stalled:
            log.info("stalled log client disconnected", seconds=SEND_TIMEOUT)
        return is_stalled

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._others) as others:  # type: ignore[type-var]  # all of them are generators
            await self._send(send, self._first, more=True)
            async for piece in others:
                await self._send(send, piece, more=True)
            await self._send(send, b"", more=False)

    async def _send(self, send: Send, piece: bytes, *, more: bool) -> None:
        self._pending_since = monotonic()
        await send({"type": "http.response.body", "body": piece, "more_body": more})
        self._pending_since = None


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
