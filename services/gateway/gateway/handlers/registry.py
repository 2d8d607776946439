"""`/v2`: the OCI distribution API, for pulls.

It is one ASGI mount that parses paths itself: names contain slashes, and a router takes longer than the response.

Source: OCI distribution-spec, "Pull" and "Content Discovery",
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pull
"""

from collections.abc import Callable

from litestar.types import Receive, Scope, Send

from gateway.domain.grant import Grant
from gateway.handlers.recent_pulls import RecentPulls
from gateway.http.bodies import drain
from gateway.http.caller import ClientAddress
from gateway.http.endpoints import (
    MethodNotAllowed,
    Path,
    header,
    matches,
    parse_path,
)
from gateway.http.errors import expected
from gateway.http.registry_responses import (
    JSON,
    RegistryResponse,
    blob_headers,
    failure,
    manifest_response,
    not_modified,
    ok,
    redirect,
    referrers_response,
    tags_response,
)
from gateway.http.relay import Relay
from gateway.pull.pulls import Pulls
from swell.oci.digest import parse_digest
from swell.oci.document import Document
from swell.oci.referrers_tag import parse_referrers_tag


class RegistryHandler:
    """Serves the images of tokens; *count* is called with each manifest or index that was sent, and its grant.

    `Accept` is ignored: an image is served in its own media type, because its digest names exactly these bytes.
    Unknown query parameters are ignored.

    With a *relay*, blobs are served from the location that clients would otherwise be redirected to. What *recent*
    answers does not arrive here.
    """

    def __init__(
        self,
        pulls: Pulls,
        count: Callable[[Grant, Document], None],
        address: ClientAddress,
        relay: Relay | None = None,
        recent: RecentPulls | None = None,
    ) -> None:
        self._relay = relay
        self._pulls = pulls
        self._address = address
        self._count = count
        self.recent = recent

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
                return await self._blob(path, address, scope, method)
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
        response = manifest_response(document, digest)
        if self.recent and not parse_referrers_tag(path.reference):  # a new signature must be visible
            self.recent.add_manifest(scope["raw_path"], grant, response, document)
        return response

    async def _blob(self, path: Path, address: str, scope: Scope, method: str) -> RegistryResponse:
        digest = parse_digest(path.reference)
        grant, location = await self._pulls.blob(path.token, path.name, digest, address)
        if method == "HEAD":
            return 200, blob_headers(location, digest), b""
        response = redirect(location.url, digest)
        if self.recent and not self._relay:
            self.recent.add_redirect(scope["raw_path"], grant, response, location.expires)
        return response

    async def _tags(self, path: Path, address: str, scope: Scope) -> RegistryResponse:
        tags = await self._pulls.tags(path.token, path.name, address)
        return tags_response(path.repository, tags, scope["query_string"])

    async def _referrers(self, path: Path, address: str, scope: Scope) -> RegistryResponse:
        content = await self._pulls.referrers(path.token, path.name, parse_digest(path.reference), address)
        return referrers_response(content, scope["query_string"])
