"""The data port: GET and HEAD of a signed link, as a bare ASGI application; nothing but bytes passes here."""

import time
from collections.abc import Callable, Container, Mapping

from registry_proxy.deliver import Deliveries
from registry_proxy.domain.link import PREFIX, Link, verify
from registry_proxy.domain.ranges import Span, content_range, parse_range
from registry_proxy.transfer import Body, Redirect
from swell.asgi import Answer, ClientGone, Message, Receive, Send, fields_of, until_gone
from swell.errors import Denied, NameInvalid, NotSupported, RangeInvalid, Side, SwellError
from swell.log import log
from swell.oci.error_codes import error_body


class BlobsApp:
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

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request. Once the headers are out, a failure ends the answer short of its `Content-Length`."""
        answer = Answer(send)
        try:
            link = self._link(scope["method"], scope["path"])
            asked = _Asked(fields_of(scope["headers"]))
            if asked.has(link):
                await answer.whole(304, {"ETag": _etag(link)})
            elif scope["method"] == "HEAD":
                await answer.whole(200, _headers(link))
            elif asked.takes_files and link.relayed and (name := self._deliveries.on_disk(link)):
                await answer.whole(*_named(link, asked.part(link), name))
            else:
                await self._deliver(link, asked.part(link), answer, receive)
        except ClientGone:
            log.info("blob not wanted any more", path=scope["path"][:80])
        except SwellError as error:
            await _fail(answer, error)
        except Exception:  # noqa: BLE001 (the edge: what nobody foresaw is told as UNKNOWN)
            log.exception("blob not delivered")
            await _fail(answer, SwellError())

    def _link(self, method: str, path: str) -> Link:
        if not path.startswith(PREFIX):
            raise NameInvalid("there is nothing but blobs here")
        if method not in {"GET", "HEAD"}:
            raise _ReadOnly
        link = verify(path, self._key, self._now())
        if link.mark in self._revoked:
            raise Denied("this link opens nothing any more: its token was taken away")
        return link

    async def _deliver(self, link: Link, part: Span | None, answer: Answer, receive: Receive) -> None:
        started = time.monotonic()
        async with until_gone(receive), self._deliveries.open(link, part) as found:
            match found:
                case Redirect(url):
                    await answer.whole(307, {"Location": url, "Content-Length": "0"})
                case Body(pieces):
                    await answer.start(206 if part else 200, _headers(link, part))
                    async for piece in pieces:
                        await answer.go_on(piece)
                    await answer.end()
        kind, seconds = type(found).__name__.lower(), round(time.monotonic() - started, 3)
        log.info("blob served", digest=link.digest, origin=link.origin, size=link.size, by=kind, seconds=seconds)


class _Asked:
    """What a request says beside its path.

    Source: RFC 9110, sections 13 and 14.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    @property
    def takes_files(self) -> bool:
        """Whether whoever asks can read the spool's files: a gateway on the same disk, which relays."""
        return "x-sendfile" in self._fields

    def has(self, link: Link) -> bool:
        """Whether the client holds the blob already: what is under a digest never changes."""
        known = self._fields.get("if-none-match", "")
        return known == "*" or _etag(link) in {each.strip().removeprefix("W/") for each in known.split(",")}

    def part(self, link: Link) -> Span | None:
        """What is to be sent; None is the whole.

        Raises:
            RangeInvalid: the blob has nothing there.
        """
        if "range" not in self._fields or self._fields.get("if-range", _etag(link)) != _etag(link):
            return None
        try:
            return parse_range(self._fields["range"], link.size)
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


async def _fail(answer: Answer, error: SwellError) -> None:
    """Tell *error*; too late for that when headers are out: returning then makes the server cut the connection."""
    if answer.is_started:
        log.warning("blob broken off", error=str(error))
        return
    body = error_body(error.code, str(error))
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    if isinstance(error, _NoSuchPart):
        headers["Content-Range"] = content_range(None, error.size)
    if isinstance(error, _ReadOnly):
        headers["Allow"] = "GET, HEAD"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    await answer.whole(error.status, headers, body)


def _named(link: Link, part: Span | None, name: str) -> tuple[int, dict[str, str]]:
    """An answer that names the file with the bytes instead of sending them."""
    span = part or Span(0, link.size)
    told = {"X-Sendfile": name, "X-Sendfile-Span": f"{span.start}-{span.stop}", "Content-Length": "0"}
    return 206 if part else 200, _headers(link, part) | told


def _etag(link: Link) -> str:
    return f'"{link.digest}"'


def _headers(link: Link, part: Span | None = None) -> dict[str, str]:
    headers = {
        "Content-Type": link.media_type or "application/octet-stream",
        "Content-Length": str(part.length if part else link.size),
        "Docker-Content-Digest": link.digest,
        "ETag": _etag(link),
        "Accept-Ranges": "bytes",
    }
    return headers | {"Content-Range": content_range(part, link.size)} if part else headers
