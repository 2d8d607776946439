"""Answers over bare ASGI, for bytes that are too many to pass through a framework."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

STALLED_SECONDS = 60
SLOWEST = 1 << 10  # bytes a second that a client takes on average, beyond its first STALLED_SECONDS of waiting


PIECE = 256 << 10  # bytes of a body that the server holds for a client at once


class ClientGone(Exception):
    """The client has closed the connection, takes nothing for 60 s, or takes less than 1 KiB a second."""


class Answer:
    """What has been said to the client so far."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._sent = 0
        self._waited = 0.0
        self.is_started = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.is_started = True
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def go_on(self, piece: bytes) -> None:
        """Send *piece*; the server waits here while its buffer for a slow client is full.

        Raises:
            ClientGone: it has been full for too long, or is emptied too slowly.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError as error:
            raise ClientGone from error
        self._sent += len(piece)
        self._waited += time.monotonic() - started
        if self._sent < (self._waited - STALLED_SECONDS) * SLOWEST:
            raise ClientGone

    async def end(self) -> None:
        """Without it, or before `Content-Length` bytes, the server cuts the connection: so a failure is seen as one."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        await self.start(status, headers)
        if body:
            await self.go_on(body)
        await self.end()


async def send_in_pieces(send: Send, message: Message) -> None:
    """Send the body of *message* in pieces: for a client that reads nothing the server then holds only one of them.

    The rest is dropped when the client takes too little; the server then closes the connection.
    """
    answer, body = Answer(send), memoryview(message["body"])
    try:
        for start in range(0, len(body), PIECE):
            await answer.go_on(bytes(body[start : start + PIECE]))
    except ClientGone:
        return
    if not message.get("more_body"):
        await answer.end()


def fields_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """A request's header fields by their names in small letters; one that came several times is one list."""
    fields: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


@asynccontextmanager
async def until_gone(receive: Receive) -> AsyncIterator[None]:
    """Leave the block with `ClientGone` once the client has closed the connection: sending to nobody never fails."""
    watching: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(None) as patience:
            watching = asyncio.create_task(_watch(receive, patience))
            yield
    except TimeoutError as error:
        if patience.expired():
            raise ClientGone from error
        raise
    finally:
        if watching:
            watching.cancel()


async def _watch(receive: Receive, patience: asyncio.Timeout) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    patience.reschedule(asyncio.get_running_loop().time())
