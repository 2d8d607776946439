"""`/v2`: the OCI distribution API, for pulls.

It is one ASGI mount that parses paths itself: names contain slashes, and a router takes longer than the response.

Source: OCI distribution-spec, "Pull" and "Content Discovery",
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pull
"""

from collections.abc import Callable

import msgspec
from litestar.types import Receive, Scope, Send

from gateway.domain.grant import Grant
from gateway.http.bodies import drain
from gateway.http.caller import ClientAddress
from gateway.http.endpoints import MethodNotAllowed, Path, filter_referrers, matches, page, parse_path, parse_query
from gateway.http.errors import expected, headers_of, oci_body
from gateway.http.relay import Relay
from gateway.pull.pulls import Location, Pulls
from swell.errors import SwellError
from swell.oci.digest import parse_digest
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX, OCTET_STREAM, manifest_type

Headers = list[tuple[bytes, bytes]]
RegistryResponse = tuple[int, Headers, bytes]

_VERSION = (b"docker-distribution-api-version", b"registry/2.0")
_JSON = (b"content-type", b"application/json")
_STALE = (b"warning", b'110 - "Response is Stale"')  # https://www.rfc-editor.org/rfc/rfc7234#section-5.5.1


class RegistryHandler:
    """Serves the images of tokens; *count* is called with each manifest or index that was sent, and its grant.

    `Accept` is ignored: an image is served in its own media type, because its digest names exactly these bytes.
    Unknown query parameters are ignored.

    With a *relay*, blobs are served from the location that clients would otherwise be redirected to.
    """

    def __init__(
        self,
        pulls: Pulls,
        count: Callable[[Grant, Document], None],
        address: ClientAddress,
        relay: Relay | None = None,
    ) -> None:
        self._relay = relay
        self._pulls = pulls
        self._address = address
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = str(scope.get("method"))
        try:
            if method not in {"GET", "HEAD"}:
                await drain(receive)  # clients that push send the whole body before they read the response
                raise MethodNotAllowed
            status, headers, body = await self._answer(scope, method)
        except Exception as error:  # noqa: BLE001  the edge: every error becomes an OCI body
            status, headers, body = failure(expected(error))
        if self._relay and status == 307:
            await self._relay(dict(headers)[b"location"].decode(), scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if method != "HEAD" else b"", "more_body": False})

    async def _answer(self, scope: Scope, method: str) -> RegistryResponse:
        raw_path = scope["raw_path"].decode("ascii", "replace")
        if raw_path.rstrip("/") == "/v2":
            return ok(b"{}", _JSON)
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

    async def _manifest(self, path: Path, address: str, scope: Scope, method: str) -> RegistryResponse:
        """The manifest or index; 304 if the client has it, which counts against the limit, but not as a pull."""
        is_pull = method == "GET"
        grant, document = await self._pulls.manifest(path.token, path.name, path.reference, address, counted=is_pull)
        digest = path.reference if ":" in path.reference else document.digest
        condition = header(scope, b"if-none-match")
        if condition is not None and matches(condition, digest):
            return 304, [*identity(digest), _VERSION], b""
        if is_pull:
            self._count(grant, document)
        stale = [_STALE] if document.stale else []
        media_type = manifest_type(document.media_type).encode()
        return ok(document.content, (b"content-type", media_type), *identity(digest), *stale)

    async def _blob(self, path: Path, address: str, method: str) -> RegistryResponse:
        digest = parse_digest(path.reference)
        location = await self._pulls.blob(path.token, path.name, digest, address)
        return redirect(location.url, digest) if method == "GET" else (200, blob_headers(location, digest), b"")

    async def _tags(self, path: Path, address: str, scope: Scope) -> RegistryResponse:
        tags = await self._pulls.tags(path.token, path.name, address)
        listed = page(tags, parse_query(scope["query_string"]))
        return ok(msgspec.json.encode({"name": path.repository, "tags": listed}), _JSON)

    async def _referrers(self, path: Path, address: str, scope: Scope) -> RegistryResponse:
        content = await self._pulls.referrers(path.token, path.name, parse_digest(path.reference), address)
        headers: Headers = [(b"content-type", OCI_INDEX.encode())]
        if artifact_type := parse_query(scope["query_string"]).get("artifactType"):
            content = filter_referrers(content, artifact_type)
            headers.append((b"oci-filters-applied", b"artifactType"))
        return ok(content, *headers)


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a request's header, repeated ones joined by commas; None when it is missing."""
    values = [value for key, value in scope["headers"] if key == name]
    return b",".join(values).decode("latin-1") if values else None


def identity(digest: str) -> Headers:
    name = digest.encode()
    return [(b"docker-content-digest", name), (b"etag", b'"' + name + b'"')]


def blob_headers(location: Location, digest: str) -> Headers:
    """The header fields of the blob at *location*."""
    size = str(location.size).encode()
    fields = [(b"content-type", OCTET_STREAM.encode()), (b"content-length", size), (b"accept-ranges", b"bytes")]
    return [*fields, *identity(digest), _VERSION]


def ok(body: bytes, *headers: tuple[bytes, bytes]) -> RegistryResponse:
    """A response 200 with *body*."""
    return 200, [*headers, (b"content-length", str(len(body)).encode()), _VERSION], body


def redirect(url: str, digest: str) -> RegistryResponse:
    headers = [
        (b"location", url.encode()),
        (b"docker-content-digest", digest.encode()),
        (b"content-length", b"0"),
        _VERSION,
    ]
    return 307, headers, b""


def failure(error: SwellError) -> RegistryResponse:
    """The response for *error*; 429 and 503 have `Retry-After`, at least 1 s."""
    body = oci_body(error)
    fields = headers_of(error)
    if error.status in {429, 503}:
        fields.setdefault("retry-after", "1")
    headers = [_JSON, _VERSION, (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in fields.items()]
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", b"GET, HEAD"))
    return error.status, headers, body
