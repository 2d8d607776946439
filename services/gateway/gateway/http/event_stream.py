"""Answers that go on: server-sent events, to whoever asks for them and takes them."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import Any

from litestar import Request
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse, Stream
from litestar.types import Receive, Send

from swell.log import log

MEDIA_TYPE = "text/event-stream"
SEND_WITHIN = 30.0  # seconds; who takes nothing for so long is sent away, and may come again

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"}


def wants_events(request: Request[Any, Any, Any]) -> bool:
    """Whether the client names server-sent events among what it accepts; a wildcard does not count."""
    for each in request.headers.get("accept", "").lower().split(","):
        kind, *parameters = (part.strip() for part in each.split(";"))
        if kind == MEDIA_TYPE:
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters)
    return False


class EventStream(Stream):
    """An answer of *events*, each piece some whole ones."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, media_type=MEDIA_TYPE, headers=_HEADERS)
        self._events = events

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        return _Events(self._events)


class _Events(ASGIStreamingResponse):
    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(iterator=events, media_type=MEDIA_TYPE, headers=_HEADERS)
        self._events = events
        self._pending_since: float | None = None

    async def send_body(self, send: Send, receive: Receive) -> None:
        sending, leaving = asyncio.create_task(self._send_all(send)), asyncio.create_task(_gone(receive))
        try:
            done: set[asyncio.Task[None]] = set()
            while not done and not self._is_stuck():  # one look for many sends: a timeout for each costs more than it
                done, _ = await asyncio.wait(
                    {sending, leaving}, timeout=SEND_WITHIN / 2, return_when=asyncio.FIRST_COMPLETED
                )
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    def _is_stuck(self) -> bool:
        is_stuck = self._pending_since is not None and monotonic() - self._pending_since > SEND_WITHIN
        if is_stuck:
            log.info("a watcher that takes nothing is sent away", seconds=SEND_WITHIN)
        return is_stuck

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            async for piece in events:
                await self._send(send, piece, more=True)
            await self._send(send, b"", more=False)

    async def _send(self, send: Send, piece: bytes, *, more: bool) -> None:
        self._pending_since = monotonic()
        await send({"type": "http.response.body", "body": piece, "more_body": more})
        self._pending_since = None


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
