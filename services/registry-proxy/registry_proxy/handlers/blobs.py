"""The data port: GET and HEAD of signed links to blobs."""

import time
from collections.abc import Callable, Container, Mapping
from contextlib import AsyncExitStack

from aiohttp import web
from prometheus_client import Counter

from registry_proxy.deliver.deliveries import Deliveries
from registry_proxy.deliver.transfer import Body, FileBody, Redirect
from registry_proxy.domain.link import PREFIX, Link, verify
from registry_proxy.domain.ranges import Span, content_range, parse_range
from registry_proxy.handlers.server import BodyWriter, ClientGone
from swell.concurrency.deadline import within
from swell.errors import Denied, NameInvalid, NotSupported, RangeInvalid, Side, SwellError
from swell.log import log
from swell.observe.instruments import HTTP
from swell.oci.error_codes import error_body
from swell.store.objects import ANY_TYPE

SENT = Counter("swell_blob_bytes", "Bytes of blobs that the data port has sent.")
SAFE_HEADERS = {
    "Content-Type": ANY_TYPE,
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "sandbox",
    "X-Content-Type-Options": "nosniff",
}
"""Headers that make browsers save untrusted bytes instead of rendering them."""

OPEN_SECONDS = 70
"""The longest time until a response begins; a gateway that relays it waits 90 s."""


class BlobsHandler:
    """Answers requests for `/blobs/<payload>.<signature>`; *key* signs the links.

    Links whose marks are in *revoked* are refused.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        key: bytes,
        revoked: Container[str] = frozenset(),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._deliveries = deliveries
        self._key = key
        self._revoked = revoked
        self._now = now

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. After the headers are sent, an error closes the connection early."""
        started, status = time.monotonic(), 0
        try:
            response = await self._answer(request)
            status = response.status
            return response
        finally:
            method = request.method if request.method in {"GET", "HEAD"} else "other"
            HTTP.observe(time.monotonic() - started, "/blobs", method, str(status))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            link = self._link(request.method, request.raw_path)
            conditions = _Conditions(request)
            if conditions.is_unmodified(link):
                return _response(304, {"ETag": _etag(link)})
            if request.method == "HEAD":
                return _response(200, _headers(link))
            if conditions.accepts_file_names and link.relayed and (name := await self._deliveries.on_disk(link)):
                return _file_name_response(link, conditions.part(link), name)
            return await self._deliver(link, conditions.part(link), request)
        except SwellError as error:
            return _failure(error)
        except Exception:  # noqa: BLE001 (the edge: an unexpected error becomes UNKNOWN)
            log.exception("blob not delivered")
            return _failure(SwellError())

    def _link(self, method: str, path: str) -> Link:
        if not path.startswith(PREFIX):
            raise NameInvalid("this port serves only blobs")
        if method not in {"GET", "HEAD"}:
            raise _ReadOnly
        link = verify(path, self._key, self._now())
        if link.mark in self._revoked:
            raise Denied("the token of this link was revoked")
        return link

    async def _deliver(self, link: Link, part: Span | None, request: web.BaseRequest) -> web.StreamResponse:
        started = time.monotonic()
        async with AsyncExitStack() as block:
            with within(OPEN_SECONDS):
                source = await block.enter_async_context(self._deliveries.open(link, part))
            if isinstance(source, Redirect):
                return _response(307, {"Location": source.url})
            writer = BodyWriter(request, 206 if part else 200, _headers(link, part))
            if await _send(writer, source):
                seconds = round(time.monotonic() - started, 3)
                log.info("blob served", digest=link.digest, origin=link.origin, size=link.size, seconds=seconds)
            return writer.response


async def _send(writer: BodyWriter, source: Body | FileBody) -> bool:
    """Send *source*, and return whether all of it was sent. Errors abort the response: its status is sent already."""
    try:
        await writer.begin()
        if isinstance(source, FileBody):
            async for extent in source.extents:
                await (writer.send(extent) if isinstance(extent, bytes) else writer.send_file(extent))
        else:
            async for piece in source.pieces:
                await writer.send(piece)
    except ClientGone:
        log.info("client disconnected")
    except SwellError as error:
        log.warning("blob not sent completely", error=str(error))
    except Exception:  # noqa: BLE001 (the edge: an unexpected error is logged)
        log.exception("blob not delivered")
    else:
        return True
    finally:
        SENT.inc(writer.sent)
    writer.abort()
    return False


class _Conditions:
    """The conditions and the range in a request's headers.

    Source: RFC 9110, section 13 (conditional requests), https://www.rfc-editor.org/rfc/rfc9110#section-13
    Source: RFC 9110, section 14 (range requests), https://www.rfc-editor.org/rfc/rfc9110#section-14
    """

    def __init__(self, request: web.BaseRequest) -> None:
        self._fields = request.headers

    @property
    def accepts_file_names(self) -> bool:
        """Whether the client can read the spool's files: a relaying gateway on the same disk."""
        return "X-Sendfile" in self._fields

    def is_unmodified(self, link: Link) -> bool:
        """Whether the client already has the blob; blobs never change."""
        etags = [etag.strip() for line in self._fields.getall("If-None-Match", []) for etag in line.split(",")]
        return etags == ["*"] or _etag(link) in {etag.removeprefix("W/") for etag in etags}

    def part(self, link: Link) -> Span | None:
        """Return the requested range; None for the whole blob.

        Raises:
            RangeInvalid: the range is outside the blob.
        """
        if "Range" not in self._fields or self._fields.get("If-Range", _etag(link)) != _etag(link):
            return None
        try:
            return parse_range(self._fields["Range"], link.size)
        except RangeInvalid as error:
            raise _RangeOutsideBlob(link.size) from error


class _ReadOnly(NotSupported):
    """The method is not GET or HEAD."""

    status = 405
    side = Side.CLIENT
    advice = "Use GET or HEAD."


class _RangeOutsideBlob(RangeInvalid):
    """The requested range is outside the blob."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the requested range is outside the blob, which has {size} bytes")
        self.size = size


def _response(status: int, headers: Mapping[str, str], body: bytes = b"") -> web.Response:
    return web.Response(status=status, headers=headers, body=body)


def _failure(error: SwellError) -> web.Response:
    body = error_body(error.code, str(error))
    headers = {**SAFE_HEADERS, "Content-Type": "application/json"}
    if isinstance(error, _RangeOutsideBlob):
        headers["Content-Range"] = content_range(None, error.size)
    if isinstance(error, _ReadOnly):
        headers["Allow"] = "GET, HEAD"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return _response(error.status, headers, body)


def _file_name_response(link: Link, part: Span | None, name: str) -> web.Response:
    """A response that names the file with the bytes instead of sending them."""
    span = part or Span(0, link.size)
    fields = {"X-Sendfile": name, "X-Sendfile-Span": f"{span.start}-{span.stop}", "Content-Length": "0"}
    return _response(206 if part else 200, _headers(link, part) | fields)


def _etag(link: Link) -> str:
    return f'"{link.digest}"'


def _headers(link: Link, part: Span | None = None) -> dict[str, str]:
    """Return the headers of a blob response.

    They never have the media type of the manifest: it is untrusted, and a browser would render `text/html`.
    """
    headers = {
        **SAFE_HEADERS,
        "Content-Length": str(part.length if part else link.size),
        "Docker-Content-Digest": link.digest,
        "ETag": _etag(link),
        "Accept-Ranges": "bytes",
    }
    return headers | {"Content-Range": content_range(part, link.size)} if part else headers
