"""The data port: GET and HEAD of a signed link; nothing but bytes passes here."""

import time
from collections.abc import Callable, Container, Mapping

from aiohttp import web

from registry_proxy.deliver.deliveries import Deliveries
from registry_proxy.deliver.transfer import Body, FileBody, Redirect
from registry_proxy.domain.link import PREFIX, Link, verify
from registry_proxy.domain.ranges import Span, content_range, parse_range
from registry_proxy.handlers.server import BodyWriter, ClientGone
from swell.errors import Denied, NameInvalid, NotSupported, RangeInvalid, Side, SwellError
from swell.log import log
from swell.oci.error_codes import error_body
from swell.store.objects import ANY_TYPE

HARMLESS = {
    "Content-Type": ANY_TYPE,
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "sandbox",
    "X-Content-Type-Options": "nosniff",
}
"""What keeps a browser from doing anything with bytes of others but storing them."""


class BlobsHandler:
    """Answers `/blobs/<payload>.<signature>`; *key* is the one that the links were signed with.

    Links whose marks are *revoked* open nothing any more.
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
        """Answer one request. Once the headers are out, a failure ends the answer short of its `Content-Length`."""
        try:
            link = self._link(request.method, request.raw_path)
            asked = _Asked(request)
            if asked.has(link):
                return _whole(304, {"ETag": _etag(link)})
            if request.method == "HEAD":
                return _whole(200, _headers(link))
            if asked.takes_files and link.relayed and (name := await self._deliveries.on_disk(link)):
                return _named(link, asked.part(link), name)
            return await self._deliver(link, asked.part(link), request)
        except SwellError as error:
            return _failure(error)
        except Exception:  # noqa: BLE001 (the edge: what nobody foresaw is told as UNKNOWN)
            log.exception("blob not delivered")
            return _failure(SwellError())

    def _link(self, method: str, path: str) -> Link:
        if not path.startswith(PREFIX):
            raise NameInvalid("there is nothing but blobs here")
        if method not in {"GET", "HEAD"}:
            raise _ReadOnly
        link = verify(path, self._key, self._now())
        if link.mark in self._revoked:
            raise Denied("this link opens nothing any more: its token was taken away")
        return link

    async def _deliver(self, link: Link, part: Span | None, request: web.BaseRequest) -> web.StreamResponse:
        started = time.monotonic()
        async with self._deliveries.open(link, part) as found:
            if isinstance(found, Redirect):
                return _whole(307, {"Location": found.url})
            answer = BodyWriter(request, 206 if part else 200, _headers(link, part))
            if await _send(answer, found):
                seconds = round(time.monotonic() - started, 3)
                log.info("blob served", digest=link.digest, origin=link.origin, size=link.size, seconds=seconds)
            return answer.response


async def _send(answer: BodyWriter, found: Body | FileBody) -> bool:
    """Send what was *found*; too late for telling an error, so the answer is cut short then: whether all was sent."""
    try:
        await answer.begin()
        if isinstance(found, FileBody):
            async for extent in found.extents:
                await (answer.send(extent) if isinstance(extent, bytes) else answer.send_file(extent))
        else:
            async for piece in found.pieces:
                await answer.send(piece)
    except ClientGone:
        log.info("blob not wanted any more")
    except SwellError as error:
        log.warning("blob broken off", error=str(error))
    except Exception:  # noqa: BLE001 (the edge: what nobody foresaw is the log's)
        log.exception("blob not delivered")
    else:
        return True
    answer.cut()
    return False


class _Asked:
    """What a request says beside its path.

    Source: RFC 9110, sections 13 and 14.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        self._fields = request.headers

    @property
    def takes_files(self) -> bool:
        """Whether whoever asks can read the spool's files: a gateway on the same disk, which relays."""
        return "X-Sendfile" in self._fields

    def has(self, link: Link) -> bool:
        """Whether the client holds the blob already: what is under a digest never changes."""
        known = [each.strip() for line in self._fields.getall("If-None-Match", []) for each in line.split(",")]
        return known == ["*"] or _etag(link) in {each.removeprefix("W/") for each in known}

    def part(self, link: Link) -> Span | None:
        """What is to be sent; None is the whole.

        Raises:
            RangeInvalid: the blob has nothing there.
        """
        if "Range" not in self._fields or self._fields.get("If-Range", _etag(link)) != _etag(link):
            return None
        try:
            return parse_range(self._fields["Range"], link.size)
        except RangeInvalid as error:
            raise _NoSuchPart(link.size) from error


class _ReadOnly(NotSupported):
    """Blobs can only be read here."""

    status = 405
    side = Side.CLIENT
    advice = "Ask with GET or HEAD."


class _NoSuchPart(RangeInvalid):
    """The blob ends before the range that was asked for."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the blob has {size} bytes, and none of those that were asked for")
        self.size = size


def _whole(status: int, headers: Mapping[str, str], body: bytes = b"") -> web.Response:
    return web.Response(status=status, headers=headers, body=body)


def _failure(error: SwellError) -> web.Response:
    body = error_body(error.code, str(error))
    headers = {**HARMLESS, "Content-Type": "application/json"}
    if isinstance(error, _NoSuchPart):
        headers["Content-Range"] = content_range(None, error.size)
    if isinstance(error, _ReadOnly):
        headers["Allow"] = "GET, HEAD"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return _whole(error.status, headers, body)


def _named(link: Link, part: Span | None, name: str) -> web.Response:
    """An answer that names the file with the bytes instead of sending them."""
    span = part or Span(0, link.size)
    told = {"X-Sendfile": name, "X-Sendfile-Span": f"{span.start}-{span.stop}", "Content-Length": "0"}
    return _whole(206 if part else 200, _headers(link, part) | told)


def _etag(link: Link) -> str:
    return f'"{link.digest}"'


def _headers(link: Link, part: Span | None = None) -> dict[str, str]:
    """The headers of a blob's bytes. They never carry the media type that the manifest declares: it is a stranger's
    word, and `text/html` would be run by a browser as a page of ours."""
    headers = {
        **HARMLESS,
        "Content-Length": str(part.length if part else link.size),
        "Docker-Content-Digest": link.digest,
        "ETag": _etag(link),
        "Accept-Ranges": "bytes",
    }
    return headers | {"Content-Range": content_range(part, link.size)} if part else headers
