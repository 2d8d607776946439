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
from gateway.http.endpoints import (
    MethodNotAllowed,
    Path,
    filter_referrers,
    header,
    matches,
    page,
    parse_path,
    parse_query,
)
from gateway.http.errors import expected
from gateway.http.registry_responses import (
    JSON,
    Headers,
    RegistryResponse,
    blob_headers,
    failure,
    manifest_response,
    not_modified,
    ok,
    redirect,
)
from gateway.http.relay import Relay
from gateway.pull.pulls import Pulls
from swell.oci.digest import parse_digest
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX


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
            return ok(b"{}", JSON)
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
            return not_modified(digest)
        if is_pull:
            self._count(grant, document)
        return manifest_response(document, digest)

    async def _blob(self, path: Path, address: str, method: str) -> RegistryResponse:
        digest = parse_digest(path.reference)
        location = await self._pulls.blob(path.token, path.name, digest, address)
        return redirect(location.url, digest) if method == "GET" else (200, blob_headers(location, digest), b"")

    async def _tags(self, path: Path, address: str, scope: Scope) -> RegistryResponse:
        tags = await self._pulls.tags(path.token, path.name, address)
        listed = page(tags, parse_query(scope["query_string"]))
        return ok(msgspec.json.encode({"name": path.repository, "tags": listed}), JSON)

    async def _referrers(self, path: Path, address: str, scope: Scope) -> RegistryResponse:
        content = await self._pulls.referrers(path.token, path.name, parse_digest(path.reference), address)
        headers: Headers = [(b"content-type", OCI_INDEX.encode())]
        if artifact_type := parse_query(scope["query_string"]).get("artifactType"):
            content = filter_referrers(content, artifact_type)
            headers.append((b"oci-filters-applied", b"artifactType"))
        return ok(content, *headers)
