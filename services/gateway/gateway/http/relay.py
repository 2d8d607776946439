"""Relay blobs from the registry-proxy's data port, for clients that reach only this gateway."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from litestar.types import Scope
from msgspec import Struct

from gateway.http.asgi import ClientGone, Receive, Send, StreamedResponse, fields_of, until_gone
from gateway.http.errors import expected, headers_of, oci_body, relayed_body
from swell.errors import SwellError, UpstreamFailed
from swell.log import log
from swell.oci.media_types import OCTET_STREAM

_REQUEST_HEADERS = ("range", "if-range", "if-none-match")
_RESPONSE_HEADERS = (
    "accept-ranges",
    "content-length",
    "content-range",
    "docker-content-digest",
    "etag",
    "retry-after",
)
_VERSION = {"docker-distribution-api-version": "registry/2.0"}
_BYTES = {"content-type": OCTET_STREAM}
_MAX_ERROR = 64 << 10  # bytes


class DataPortResponse(Struct, frozen=True):
    """A response of the data port; the names of its headers are lower-case."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class DataPort(Protocol):
    def open(self, method: str, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[DataPortResponse]:
        """Send one request; raises `Unavailable`, as do the pieces when the connection breaks."""


class Relay:
    """Relays responses of *data_port*, which itself handles ranges, HEAD and conditions."""

    def __init__(self, data_port: DataPort) -> None:
        self._data_port = data_port

    async def __call__(self, url: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request *scope* with the blob at *url*.

        The data port follows redirects itself. A redirect in its response is refused: it could send a client to an
        address in the client's own network. The content type is always `application/octet-stream`. If the data port
        breaks off, the response ends before its `Content-Length`.
        """
        response = StreamedResponse(send)
        fields = fields_of(scope["headers"])
        requested = {name: fields[name] for name in _REQUEST_HEADERS if name in fields}
        method = str(scope.get("method"))
        try:
            async with until_gone(receive), self._data_port.open(method, url, requested) as source:
                await _relay(response, source, is_head=method == "HEAD")
        except ClientGone:
            log.info("client disconnected during a blob")
        except SwellError as error:
            await _fail(response, error)
        except Exception as error:  # noqa: BLE001  the edge: an unexpected error becomes UNKNOWN
            await _fail(response, expected(error))


async def _relay(response: StreamedResponse, source: DataPortResponse, *, is_head: bool) -> None:
    headers = {name: source.headers[name] for name in _RESPONSE_HEADERS if name in source.headers} | _VERSION
    if source.status >= 400 and not is_head:
        await _relay_error(response, source, headers)
        return
    if 300 <= source.status < 400 and source.status != 304:
        raise UpstreamFailed("the data port answered with a redirect instead of the bytes")
    await response.start(source.status, headers | _BYTES if source.status in {200, 206} else headers)
    async for piece in source.pieces:
        await response.write(piece)
    await response.end()


async def _relay_error(response: StreamedResponse, source: DataPortResponse, headers: Mapping[str, str]) -> None:
    """Send an error of the data port in the form that registry clients read."""
    body = b""
    async for piece in source.pieces:
        body += piece
        if len(body) > _MAX_ERROR:
            break
    body = relayed_body(body)
    json = {"content-type": "application/json", "content-length": str(len(body))}
    await response.send_whole(source.status, {**headers, **json}, body)


async def _fail(response: StreamedResponse, error: SwellError) -> None:
    if response.is_started:
        log.warning("blob broken off", error=str(error))
        return
    body = oci_body(error)
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    await response.send_whole(error.status, headers | headers_of(error), body)
