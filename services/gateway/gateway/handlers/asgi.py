"""Answers over bare ASGI, for bytes that are too many to pass through a framework."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

STALLED_SECONDS = 60


class ClientGone(Exception):
    """Whoever asked has closed the connection, or takes nothing for 60 s."""


class Answer:
    """What has been said to the client so far."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_started = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.is_started = True
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def go_on(self, piece: bytes) -> None:
        """Send *piece*; the server waits here while its buffer for a slow client is full.

        Raises:
            ClientGone: it has been full for too long.
        """
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError as error:
            raise ClientGone from error

    async def end(self) -> None:
        """Without it, or before `Content-Length` bytes, the server cuts the connection: so a failure is seen as one."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        await self.start(status, headers)
        if body:
            await self.go_on(body)
        await self.end()


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
