"""`/v2`: the OCI distribution API, for pulls. One ASGI mount with its own path reading, because names hold slashes and
a router costs more than the answer.

Source: distribution-spec, "Pulling manifests" and "Pulling blobs".
"""

from collections.abc import Callable
from typing import NamedTuple

from litestar.types import Receive, Scope, Send

from gateway.domain.grant import Grant
from gateway.handlers.caller import ClientAddress
from gateway.handlers.errors import described, headers_of, oci_body
from gateway.pull import Pulls
from swell.errors import NameInvalid, NotSupported, SwellError
from swell.oci.digest import parse_digest
from swell.oci.document import Document

Headers = list[tuple[bytes, bytes]]

_VERSION = (b"docker-distribution-api-version", b"registry/2.0")
_JSON = (b"content-type", b"application/json")
_STALE = (b"warning", b'110 - "Response is Stale"')  # RFC 7234, 5.5.1


class Path(NamedTuple):
    """`/v2/wt/<token>/<name>/<kind>/<reference>`, kind being manifests or blobs."""

    token: str
    name: str
    kind: str
    reference: str


class MethodNotAllowed(NotSupported):
    """This registry is for pulling only."""

    status = 405
    advice = "Push to the registry that the image belongs to."


class RegistryHandler:
    """Answers what a token opens; *pulled* is told each manifest or index that was sent, and by which grant."""

    def __init__(self, pulls: Pulls, pulled: Callable[[Grant, Document], None], address: ClientAddress) -> None:
        self._pulls = pulls
        self._address = address
        self._pulled = pulled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        method = str(scope.get("method"))
        try:
            if method not in {"GET", "HEAD"}:
                raise MethodNotAllowed
            path = scope["raw_path"].decode("ascii", "replace")
            status, headers, body = await self._answer(path, self._address(scope) if method == "GET" else None)
        except Exception as error:  # noqa: BLE001  the edge: every error becomes an OCI body
            status, headers, body = failure(described(error))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if method != "HEAD" else b"", "more_body": False})

    async def _answer(self, raw_path: str, address: str | None) -> tuple[int, Headers, bytes]:
        if raw_path.rstrip("/") == "/v2":
            return 200, [_JSON, _VERSION, (b"content-length", b"2")], b"{}"
        path = parse_path(raw_path)
        if path.kind == "blobs":
            location = await self._pulls.blob(path.token, path.name, parse_digest(path.reference))
            return redirect(location.url, path.reference)
        grant, document = await self._pulls.manifest(path.token, path.name, path.reference, address=address)
        if address is not None:
            self._pulled(grant, document)
        return 200, document_headers(document), document.content


def parse_path(raw_path: str) -> Path:
    """Take a request's path apart; the last `manifests` or `blobs` in it counts, as a name may hold such a word.

    Raises:
        NameInvalid: it is no path of an image.
    """
    parts = raw_path.split("/")
    if len(parts) < 7 or parts[1] != "v2" or parts[2] != "wt" or parts[-2] not in {"manifests", "blobs"}:
        raise NameInvalid(f"{raw_path[:200]} does not name an image of this server")
    return Path(parts[3], "/".join(parts[4:-2]), parts[-2], parts[-1])


def document_headers(document: Document) -> Headers:
    digest = document.digest.encode()
    return [
        *([_STALE] if document.stale else []),
        (b"content-type", document.media_type.encode()),
        (b"content-length", str(document.size).encode()),
        (b"docker-content-digest", digest),
        (b"etag", b'"' + digest + b'"'),
        _VERSION,
    ]


def redirect(url: str, digest: str) -> tuple[int, Headers, bytes]:
    headers = [
        (b"location", url.encode()),
        (b"docker-content-digest", digest.encode()),
        (b"content-length", b"0"),
        _VERSION,
    ]
    return 307, headers, b""


def failure(error: SwellError) -> tuple[int, Headers, bytes]:
    body = oci_body(error)
    headers = [_JSON, _VERSION, (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in headers_of(error).items()]
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", b"GET, HEAD"))
    return error.status, headers, body
