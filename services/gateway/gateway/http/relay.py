"""Blobs for clients who reach nothing but this gateway: the data port's answer, passed on as it comes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from litestar.types import Scope
from msgspec import Struct

from gateway.http.asgi import Answer, ClientGone, Receive, Send, fields_of, until_gone
from gateway.http.errors import described, headers_of, oci_body, passed_on
from swell.errors import SwellError, UpstreamFailed
from swell.log import log
from swell.oci.media_types import OCTET_STREAM

_ASKED = ("range", "if-range", "if-none-match")
_TOLD = (
    "accept-ranges",
    "content-length",
    "content-range",
    "docker-content-digest",
    "etag",
    "retry-after",
)
_VERSION = {"docker-distribution-api-version": "registry/2.0"}
_BYTES = {"content-type": OCTET_STREAM}
_LONGEST_ERROR = 64 << 10  # bytes


class Part(Struct, frozen=True):
    """What the data port answers; the names of its headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class DataPort(Protocol):
    def open(self, method: str, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Part]:
        """Ask once; raises `Unavailable`, as do the pieces when they break off."""


class Relay:
    """Sends what *data_port* has; a part of a blob, HEAD and conditions are that one's to answer."""

    def __init__(self, data_port: DataPort) -> None:
        self._data_port = data_port

    async def __call__(self, url: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request of *scope* with what is at *url*. What breaks off there ends short of its length here.

        The data port follows redirects itself, so one that it returns is refused: it could lead a client to an address
        of its own network. Bytes are always `application/octet-stream`.
        """
        answer = Answer(send)
        asked = fields_of(scope["headers"])
        wished = {name: asked[name] for name in _ASKED if name in asked}
        try:
            async with until_gone(receive), self._data_port.open(str(scope.get("method")), url, wished) as part:
                told = {name: part.headers[name] for name in _TOLD if name in part.headers} | _VERSION
                if part.status >= 400 and scope.get("method") != "HEAD":
                    await _pass_on(answer, part, told)
                    return
                if 300 <= part.status < 400 and part.status != 304:
                    raise UpstreamFailed("the data port answered with a redirect instead of the bytes")
                await answer.start(part.status, told | _BYTES if part.status in {200, 206} else told)
                async for piece in part.pieces:
                    await answer.go_on(piece)
                await answer.end()
        except ClientGone:
            log.info("blob not wanted any more")
        except SwellError as error:
            await _fail(answer, error)
        except Exception as error:  # noqa: BLE001  the edge: what nobody foresaw is told as UNKNOWN
            await _fail(answer, described(error))


async def _pass_on(answer: Answer, part: Part, told: Mapping[str, str]) -> None:
    """Tell the data port's error in the words that clients of registries know."""
    body = b""
    async for piece in part.pieces:
        body += piece
        if len(body) > _LONGEST_ERROR:
            break
    body = passed_on(body)
    await answer.whole(
        part.status, {**told, "content-type": "application/json", "content-length": str(len(body))}, body
    )


async def _fail(answer: Answer, error: SwellError) -> None:
    if answer.is_started:
        log.warning("blob broken off", error=str(error))
        return
    body = oci_body(error)
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    await answer.whole(error.status, headers | headers_of(error), body)
