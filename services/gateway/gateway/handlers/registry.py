"""`/v2`: the OCI distribution API, for pulls. One ASGI mount with its own path reading, because names hold slashes and
a router costs more than the answer.

Source: distribution-spec, "Pulling manifests", "Pulling blobs" and "Content Discovery".
"""

from collections.abc import Callable

import msgspec
from litestar.types import Receive, Scope, Send

from gateway.domain.grant import Grant
from gateway.http.bodies import drain
from gateway.http.caller import ClientAddress
from gateway.http.endpoints import MethodNotAllowed, Path, has_it, of_type, page, parse_path, parse_query
from gateway.http.errors import described, headers_of, oci_body
from gateway.http.relay import Relay
from gateway.pull.pulls import Location, Pulls
from swell.errors import SwellError
from swell.oci.digest import parse_digest
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX, OCTET_STREAM, manifest_type

Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, Headers, bytes]

_VERSION = (b"docker-distribution-api-version", b"registry/2.0")
_JSON = (b"content-type", b"application/json")
_STALE = (b"warning", b'110 - "Response is Stale"')  # RFC 7234, 5.5.1


class RegistryHandler:
    """Answers what a token opens; *pulled* is told each manifest or index that was sent, and by which grant.

    An image is served as what it is, whatever `Accept` says: there is no other form of it, and its digest names this
    one. Queries that we do not know are ignored.

    With a *relay* the bytes of a blob are sent from where clients would be redirected to.
    """

    def __init__(
        self,
        pulls: Pulls,
        pulled: Callable[[Grant, Document], None],
        address: ClientAddress,
        relay: Relay | None = None,
    ) -> None:
        self._relay = relay
        self._pulls = pulls
        self._address = address
        self._pulled = pulled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = str(scope.get("method"))
        try:
            if method not in {"GET", "HEAD"}:
                await drain(receive)  # whoever pushes writes all before they read any answer
                raise MethodNotAllowed
            status, headers, body = await self._answer(scope, method)
        except Exception as error:  # noqa: BLE001  the edge: every error becomes an OCI body
            status, headers, body = failure(described(error))
        if self._relay and status == 307:
            await self._relay(dict(headers)[b"location"].decode(), scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if method != "HEAD" else b"", "more_body": False})

    async def _answer(self, scope: Scope, method: str) -> Answer:
        raw_path = scope["raw_path"].decode("ascii", "replace")
        if raw_path.rstrip("/") == "/v2":
            return whole(b"{}", _JSON)
        path, address = parse_path(raw_path), self._address(scope)
        match path.kind:
            case "manifests":
                return await self._manifest(path, address, scope, method)
            case "blobs":
                return await self._blob(path, address, method)
            case "tags":
                return await self._tags(path, address, scope)
            case _:
                return await self._referrers(path, address, scope)

    async def _manifest(self, path: Path, address: str, scope: Scope, method: str) -> Answer:
        """The document; 304 to whoever has it, which counts against a limit as others do and is no pull."""
        is_pull = method == "GET"
        grant, document = await self._pulls.manifest(path.token, path.name, path.reference, address, counted=is_pull)
        digest = path.reference if ":" in path.reference else document.digest
        condition = header(scope, b"if-none-match")
        if condition is not None and has_it(condition, digest):
            return 304, [*identity(digest), _VERSION], b""
        if is_pull:
            self._pulled(grant, document)
        stale = [_STALE] if document.stale else []
        media_type = manifest_type(document.media_type).encode()
        return whole(document.content, (b"content-type", media_type), *identity(digest), *stale)

    async def _blob(self, path: Path, address: str, method: str) -> Answer:
        digest = parse_digest(path.reference)
        location = await self._pulls.blob(path.token, path.name, digest, address)
        return redirect(location.url, digest) if method == "GET" else (200, blob_headers(location, digest), b"")

    async def _tags(self, path: Path, address: str, scope: Scope) -> Answer:
        tags = await self._pulls.tags(path.token, path.name, address)
        listed = page(tags, parse_query(scope["query_string"]))
        return whole(msgspec.json.encode({"name": path.repository, "tags": listed}), _JSON)

    async def _referrers(self, path: Path, address: str, scope: Scope) -> Answer:
        content = await self._pulls.referrers(path.token, path.name, parse_digest(path.reference), address)
        headers: Headers = [(b"content-type", OCI_INDEX.encode())]
        if artifact_type := parse_query(scope["query_string"]).get("artifactType"):
            content = of_type(content, artifact_type)
            headers.append((b"oci-filters-applied", b"artifactType"))
        return whole(content, *headers)


def header(scope: Scope, name: bytes) -> str | None:
    """The values of a request's header, as one; None when it has none."""
    values = [value for key, value in scope["headers"] if key == name]
    return b",".join(values).decode("latin-1") if values else None


def identity(digest: str) -> Headers:
    name = digest.encode()
    return [(b"docker-content-digest", name), (b"etag", b'"' + name + b'"')]


def blob_headers(location: Location, digest: str) -> Headers:
    """The header fields of a blob, where `location` leads to."""
    size = str(location.size).encode()
    told = [(b"content-type", OCTET_STREAM.encode()), (b"content-length", size), (b"accept-ranges", b"bytes")]
    return [*told, *identity(digest), _VERSION]


def whole(body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    """200 with *body*."""
    return 200, [*headers, (b"content-length", str(len(body)).encode()), _VERSION], body


def redirect(url: str, digest: str) -> Answer:
    headers = [
        (b"location", url.encode()),
        (b"docker-content-digest", digest.encode()),
        (b"content-length", b"0"),
        _VERSION,
    ]
    return 307, headers, b""


def failure(error: SwellError) -> Answer:
    """An OCI error; whoever shall come later is told when, at the least after a second."""
    body = oci_body(error)
    told = headers_of(error)
    if error.status in {429, 503}:
        told.setdefault("retry-after", "1")
    headers = [_JSON, _VERSION, (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in told.items()]
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", b"GET, HEAD"))
    return error.status, headers, body
