"""The data port: GET and HEAD of a signed link, as a bare ASGI application; nothing but bytes passes here."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from registry_proxy.deliver import Body, Deliveries, Redirect
from registry_proxy.domain.link import PREFIX, Link, verify
from swell.errors import NameInvalid, NotSupported, SwellError
from swell.log import log

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = dict[str, str]

STALLED_SECONDS = 60


class _ClientGone(Exception):
    """Whoever asked has closed the connection, or takes nothing for 60 s."""


class BlobsApp:
    """Answers `/blobs/<payload>.<signature>`; *key* is the one that the links were signed with."""

    def __init__(self, deliveries: Deliveries, key: bytes, now: Callable[[], float] = time.time) -> None:
        self._deliveries = deliveries
        self._key = key
        self._now = now

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request. Once the headers are out, a failure ends the answer short of its `Content-Length`."""
        answer = _Answer(send)
        try:
            link = self._link(scope["method"], scope["path"])
            if scope["method"] == "HEAD":
                await answer.whole(200, _headers(link))
            else:
                await self._deliver(link, answer, receive)
        except _ClientGone:
            log.info("blob not wanted any more", path=scope["path"][:80])
        except SwellError as error:
            await answer.fail(error)
        except Exception:  # noqa: BLE001 (the edge: what nobody foresaw is told as UNKNOWN)
            log.exception("blob not delivered")
            await answer.fail(SwellError())

    def _link(self, method: str, path: str) -> Link:
        if not path.startswith(PREFIX):
            raise NameInvalid("there is nothing but blobs here")
        if method not in {"GET", "HEAD"}:
            raise NotSupported("blobs can only be read here")
        return verify(path, self._key, self._now())

    async def _deliver(self, link: Link, answer: "_Answer", receive: Receive) -> None:
        started = time.monotonic()
        async with _until_gone(receive), self._deliveries.open(link) as found:
            match found:
                case Redirect(url):
                    await answer.whole(307, {"Location": url, "Content-Length": "0"})
                case Body(pieces):
                    await answer.start(200, _headers(link))
                    async for piece in pieces:
                        await answer.go_on(piece)
                    await answer.end()
        kind, seconds = type(found).__name__.lower(), round(time.monotonic() - started, 3)
        log.info("blob served", digest=link.digest, origin=link.origin, size=link.size, by=kind, seconds=seconds)


class _Answer:
    """What has been said to the client so far."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False

    async def start(self, status: int, headers: Headers) -> None:
        self._started = True
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def go_on(self, piece: bytes) -> None:
        """Send *piece*; the server waits here while its buffer for a slow client is full."""
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError as error:
            raise _ClientGone from error

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, status: int, headers: Headers, body: bytes = b"") -> None:
        await self.start(status, headers)
        if body:
            await self.go_on(body)
        await self.end()

    async def fail(self, error: SwellError) -> None:
        """Tell *error*; too late for that when headers are out: returning then makes the server cut the connection."""
        if self._started:
            log.warning("blob broken off", error=str(error))
            return
        body = msgspec.json.encode({"errors": [{"code": error.code, "message": str(error)}]})
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        await self.whole(error.status, headers, body)


def _headers(link: Link) -> Headers:
    return {
        "Content-Type": link.media_type or "application/octet-stream",
        "Content-Length": str(link.size),
        "Docker-Content-Digest": link.digest,
        "ETag": f'"{link.digest}"',
    }


@asynccontextmanager
async def _until_gone(receive: Receive) -> AsyncIterator[None]:
    """Leave the block with `_ClientGone` once the client has closed the connection: sending to nobody never fails."""
    watching: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(None) as patience:
            watching = asyncio.create_task(_watch(receive, patience))
            yield
    except TimeoutError as error:
        if patience.expired():
            raise _ClientGone from error
        raise
    finally:
        if watching:
            watching.cancel()


async def _watch(receive: Receive, patience: asyncio.Timeout) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    patience.reschedule(asyncio.get_running_loop().time())
