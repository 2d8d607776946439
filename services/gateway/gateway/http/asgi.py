"""Responses over bare ASGI, for bodies that are too large to pass through a framework.

Source: ASGI, "HTTP & WebSocket ASGI Message Format", https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from swell.concurrency.background import background

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

STALLED_SECONDS = 60
MIN_RATE = 1 << 10  # bytes per second that a client reads on average, after the first STALLED_SECONDS of waiting
PIECE = 256 << 10  # bytes of a body that the server buffers per client


class ClientGone(Exception):
    """The client closed the connection, read nothing for 60 s, or reads less than 1 KiB per second."""


class StreamedResponse:
    """Sends a response piece by piece; `is_started` is true when its status was sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._sent = 0
        self._waited = 0.0
        self.is_started = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.is_started = True
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, piece: bytes) -> None:
        """Send *piece*; waits while the server's buffer for a slow client is full.

        Raises:
            ClientGone: the buffer was full for 60 s, or the client reads less than 1 KiB per second.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError as error:
            raise ClientGone from error
        self._sent += len(piece)
        self._waited += time.monotonic() - started
        if self._sent < (self._waited - STALLED_SECONDS) * MIN_RATE:
            raise ClientGone

    async def end(self) -> None:
        """End the body.

        If this is not called, or called before `Content-Length` bytes, the server closes the connection, so that the
        client sees the failure.
        """
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send_whole(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        await self.start(status, headers)
        if body:
            await self.write(body)
        await self.end()


async def send_in_pieces(send: Send, message: Message) -> None:
    """Send the body of *message* in pieces, so that the server buffers only one of them for a client that stalls.

    When the client is gone, the rest is dropped and the server closes the connection.
    """
    response, body = StreamedResponse(send), memoryview(message["body"])
    try:
        for start in range(0, len(body), PIECE):
            await response.write(bytes(body[start : start + PIECE]))
    except ClientGone:
        return
    if not message.get("more_body"):
        await response.end()


def fields_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The header fields of a request by their lower-case names; repeated fields are joined by commas."""
    fields: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


@asynccontextmanager
async def until_gone(receive: Receive) -> AsyncIterator[None]:
    """Run the block until the client closes the connection; the block then ends with `ClientGone`.

    This is needed because sending to a closed connection does not fail.
    """
    try:
        async with asyncio.timeout(None) as deadline, background(_expire_when_gone(receive, deadline)):
            yield
    except TimeoutError as error:
        if deadline.expired():
            raise ClientGone from error
        raise


async def _expire_when_gone(receive: Receive, deadline: asyncio.Timeout) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    deadline.reschedule(asyncio.get_running_loop().time())
