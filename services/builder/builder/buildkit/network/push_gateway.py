"""Where buildkitd pushes to: a registry of one build, which passes everything on to the real one.

buildkitd is not given the operator's credentials for pushing: with these, a `FROM` line could read what others have
pushed to the same registry. Instead it pushes to this gateway, which has the credentials and passes on no more than
pushing one tag takes, and reading and writing the layer cache. Source: OCI distribution-spec, "Pull" and
"Push", https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pull
"""

import re
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

import msgspec
from aiohttp import ClientResponse, web
from msgspec import Struct
from yarl import URL

from builder.buildkit.attestation import EMPTY_CONFIG_DIGEST, MAX_BLOB, STATEMENT, Attestation
from swell.errors import Denied, SwellError, UpstreamBroken, UpstreamFailed
from swell.net.outbound import follow, pieces, read, send
from swell.oci.digest import digest_of
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.push import upload
from swell.registry.responses import answered

HOST, PORT = "127.0.0.2", 5000
"""Where the gateway listens in buildkitd's network namespace; on loopback, so that BuildKit speaks plain http."""
REGISTRY = f"{HOST}:{PORT}"

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|uploads)/(?P<reference>[^/]*)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MANIFEST_BYTES = 16 << 20
_ANY_TYPE = "application/octet-stream"
_UPLOAD_SECONDS = 24 * 3600.0  # the time limit of the build counts
_REQUEST_HEADERS = ("Accept", "Content-Type", "Content-Length", "Content-Range")
_RESPONSE_HEADERS = ("Content-Type", "Docker-Content-Digest", "Range", "Content-Length", "Docker-Upload-UUID")


class Repository(Struct, frozen=True):
    """A repository that a build may push to: only the tag of *reference*, or with `is_cache` any, which it may read."""

    reference: Reference
    is_cache: bool = False


class PushGateway:
    """Pushes for one build; *client* has the credentials, and asks for tokens that allow `pull,push`.

    *repositories* are what buildkitd calls them here. Layers of *bases*, images that the build reads, are mounted from
    there when they are in the same registry and *may_mount* allows it. *attestation* takes the provenance out of the
    push of the image.

    A blob that the repository has already counts as pushed only if buildkitd has it too, if the layer cache that the
    build has read names it, or if it is mounted. BuildKit does not fetch the layers of a base image that no step needs,
    so the registry of a base image could name a layer of another user's image, which would become part of this image
    without being read.
    Reasons: `docs/decisions/0021-pushed-blobs-are-proven.md`.
    """

    def __init__(
        self,
        client: RegistryClient,
        repositories: Mapping[str, Repository],
        bases: Iterable[Reference],
        attestation: Attestation | None = None,
        may_mount: Callable[[Reference], Awaitable[bool]] | None = None,
    ) -> None:
        self._client = client
        self._repositories = dict(repositories)
        self._bases = tuple(bases)
        self._may_mount = may_mount
        self._imported: set[tuple[str, str]] = set()
        self._mountable: dict[str, bool] = {}
        self._has_blob: Callable[[str], bool] = _has_none
        self.attestation = attestation
        self._uploads: dict[str, tuple[Reference, URL | None, str]] = {}
        self.trouble: SwellError | None = None
        """What the registry refused last."""

    @property
    def cache(self) -> Reference | None:
        """The repository of the layer cache, if the build has one."""
        return next((each.reference for each in self._repositories.values() if each.is_cache), None)

    @asynccontextmanager
    async def serve(
        self, listening: socket.socket, has_blob: Callable[[str], bool] | None = None
    ) -> AsyncIterator[None]:
        """Serve connections of *listening* for the length of the block.

        *has_blob* says whether buildkitd has all bytes of a digest; without it, it has none.
        """
        self._has_blob = has_blob or _has_none
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            yield
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path in {"/v2", "/v2/"}:
            return web.Response()
        found = _PATH.fullmatch(request.path)
        name = found["name"].removesuffix("/blobs") if found else ""
        repository = self._repositories.get(name)
        if found is None or repository is None:
            return _error(403, "DENIED", "this build may not use that repository")
        try:
            return await self._pass_on(request, name, repository, found["kind"], found["reference"])
        except Denied as error:
            self.trouble = error
            return _error(403, "DENIED", str(error))
        except SwellError as error:
            self.trouble = error
            return _error(502, "UNKNOWN", str(error))

    async def _pass_on(
        self, request: web.BaseRequest, name: str, repository: Repository, kind: str, reference: str
    ) -> web.StreamResponse:
        target, method = repository.reference, request.method
        attestation = None if repository.is_cache else self.attestation
        if kind == "uploads" and method == "POST" and not reference:
            return await self._begin_upload(target, name, attestation)
        if kind == "uploads" and method in {"PUT", "PATCH", "GET", "DELETE"}:
            return await self._continue_upload(request, reference, attestation)
        is_ours = repository.is_cache or bool(_DIGEST.fullmatch(reference)) or reference == target.reference
        if attestation and method == "HEAD" and reference == EMPTY_CONFIG_DIGEST:
            return web.Response(headers={"Docker-Content-Digest": reference})  # so that it is not pushed
        if attestation and method == "HEAD" and STATEMENT in request.headers.get("Accept", ""):
            return _error(404, "BLOB_UNKNOWN", "this build has not pushed that provenance")
        if attestation and kind == "manifests" and is_ours:
            return await self._take_manifest(request, target, reference, attestation)
        if kind == "manifests" and is_ours and method == "PUT":
            return await self._put_manifest(request, target, reference)
        if (
            kind in {"manifests", "blobs"}
            and is_ours
            and method in ({"HEAD", "GET"} if repository.is_cache else {"HEAD"})
        ):
            if kind == "blobs" and method == "HEAD" and not self._may_reuse(target, reference):
                return await self._mount(target, reference)
            return await self._get(request, target, kind, reference)
        return _error(405, "UNSUPPORTED", "this build may not do that")

    async def _get(self, request: web.BaseRequest, target: Reference, kind: str, reference: str) -> web.StreamResponse:
        headers = {"Accept": request.headers["Accept"]} if "Accept" in request.headers else {}
        response = await self._client.ask(follow, request.method, target, f"{kind}/{reference}", headers)
        if request.method == "HEAD":
            response.release()
            if kind == "blobs" and response.status == 404 and await self._mounted(target, reference):
                return web.Response(headers={"Docker-Content-Digest": reference})
            return web.Response(status=response.status, headers=_headers(response))
        async with response:
            if kind == "manifests" and response.status == 200:
                content = await read(response, _MANIFEST_BYTES)
                self._imported.update((target.registry, digest) for digest in _blobs_of(content))
                return web.Response(body=content, headers=_headers(response))
            answer = web.StreamResponse(status=response.status, headers=_headers(response))
            await answer.prepare(request)
            async for piece in pieces(response):
                await answer.write(piece)
            return answer

    def _may_reuse(self, target: Reference, digest: str) -> bool:
        """Whether this build may use a blob that *target* has: buildkitd has it, or it is in the imported cache."""
        return self._has_blob(digest) or (target.registry, digest) in self._imported

    async def _mount(self, target: Reference, digest: str) -> web.StreamResponse:
        """The answer about a blob that buildkitd does not have: it fetches the blob and pushes it if it must."""
        if await self._mounted(target, digest):
            return web.Response(headers={"Docker-Content-Digest": digest})
        return _error(404, "BLOB_UNKNOWN", "this build has not pushed that blob")

    async def _mounted(self, target: Reference, digest: str) -> bool:
        """Whether the blob can be taken from a base image in the same registry."""
        for base in self._bases:
            if base.registry != target.registry or base.repository == target.repository:
                continue
            if not await self._is_mountable(base):
                continue
            url = self._url(target, "blobs/uploads/").with_query({"mount": digest, "from": base.repository})
            response = await self._client.ask_url(send, "POST", target, url, {"Content-Length": "0"}, data=lambda: b"")
            response.release()
            if response.status == 201:
                return True
        return False

    async def _is_mountable(self, base: Reference) -> bool:
        if base.name not in self._mountable:
            self._mountable[base.name] = self._may_mount is not None and await self._may_mount(base)
        return self._mountable[base.name]

    async def _begin_upload(self, target: Reference, name: str, attestation: Attestation | None) -> web.StreamResponse:
        """Give an upload a name of ours. With *attestation*, the registry gets it with its bytes, if it is for it."""
        return self._uploading(target, None if attestation else await self._place(target), name)

    async def _place(self, target: Reference) -> URL:
        """Begin an upload in the registry, and return where it takes the bytes."""
        url = self._url(target, "blobs/uploads/")
        response = await self._client.ask_url(send, "POST", target, url, {"Content-Length": "0"}, data=lambda: b"")
        response.release()
        if response.status != 202:
            self._refused(response, target)
        return _place_of(response, target, url)

    async def _continue_upload(
        self, request: web.BaseRequest, reference: str, attestation: Attestation | None
    ) -> web.StreamResponse:
        if (known := self._uploads.pop(reference, None)) is None:
            return _error(404, "BLOB_UPLOAD_UNKNOWN", "that upload is unknown")
        target, place, name = known
        body = _Body(request)
        if attestation and (document := await body.document(MAX_BLOB)) and attestation.takes_blob(document):
            return web.Response(status=201, headers={"Docker-Content-Digest": digest_of(document)})
        url = place = place or await self._place(target)
        if digest := request.query.get("digest"):
            url = URL(f"{place}{'&' if place.query_string else '?'}digest={digest}", encoded=True)
        headers = {each: request.headers[each] for each in _REQUEST_HEADERS if each in request.headers}
        headers.setdefault("Content-Type", _ANY_TYPE)
        response = await self._client.ask_url(
            upload, request.method, target, url, headers, data=body, seconds=_UPLOAD_SECONDS
        )
        response.release()
        if response.status == 202:
            return self._uploading(target, _place_of(response, target, place), name, _headers(response))
        if response.status >= 400:
            self._refused(response, target)
        return web.Response(status=response.status, headers=_headers(response))

    def _uploading(
        self, target: Reference, place: URL | None, name: str, headers: Mapping[str, str] = {}
    ) -> web.StreamResponse:
        """The answer for an upload that goes on: its *place* is known here by a name of ours."""
        upload = secrets.token_hex(16)
        self._uploads[upload] = (target, place, name)
        ours = {"Location": f"/v2/{name}/blobs/uploads/{upload}", "Content-Length": "0"}
        return web.Response(status=202, headers={"Range": "0-0", **headers, **ours})

    async def _take_manifest(
        self, request: web.BaseRequest, target: Reference, reference: str, attestation: Attestation
    ) -> web.StreamResponse:
        """Push the manifest of the image under its tag; the others of the push do not leave the builder."""
        if request.method != "PUT":
            status = 404 if request.method == "HEAD" else 405
            return _error(status, "MANIFEST_UNKNOWN", "this build has not pushed that manifest")
        content = await _limited(request, _MANIFEST_BYTES)
        media_type, digest = request.headers.get("Content-Type", _ANY_TYPE), digest_of(content)
        if reference != target.reference:
            attestation.takes_manifest(media_type, content)
        else:
            image_type, image = attestation.image(media_type, content)
            answer = await self._put(target, reference, image_type, image)
            if answer.status != 201:
                return answer
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})

    async def _put_manifest(self, request: web.BaseRequest, target: Reference, reference: str) -> web.StreamResponse:
        content = await _limited(request, _MANIFEST_BYTES)
        return await self._put(target, reference, request.headers.get("Content-Type", _ANY_TYPE), content)

    async def _put(self, target: Reference, reference: str, media_type: str, content: bytes) -> web.Response:
        url, headers = self._url(target, f"manifests/{reference}"), {"Content-Type": media_type}
        response = await self._client.ask_url(send, "PUT", target, url, headers, data=lambda: content)
        if response.status >= 400:
            self._refused(response, target)
        async with response:
            return web.Response(
                status=response.status, headers=_headers(response), body=await read(response, _MANIFEST_BYTES)
            )

    def _refused(self, response: ClientResponse, target: Reference) -> None:
        self.trouble = answered(response.status, f"{target.registry} answers {response.status}")

    def _url(self, reference: Reference, path: str) -> URL:
        return self._client.base(reference.registry) / f"v2/{reference.repository}/" / path


class _Body:
    """The body of a request, which can be sent once."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request: web.BaseRequest | None = request
        self._begun = bytearray()

    async def document(self, limit: int) -> bytes:
        """Return the whole body if it begins like a JSON object and has at most *limit* bytes, else nothing."""
        assert self._request is not None  # noqa: S101  (it is not sent yet)
        async for piece in self._request.content.iter_any():
            self._begun += piece
            if not self._begun.startswith(b"{") or len(self._begun) > limit:
                return b""
        return bytes(self._begun)

    def __call__(self) -> AsyncIterator[bytes]:
        if self._request is None:
            raise UpstreamBroken("the registry did not receive all bytes")
        request, self._request = self._request, None
        return self._pieces(request)

    async def _pieces(self, request: web.BaseRequest) -> AsyncIterator[bytes]:
        if self._begun:
            yield bytes(self._begun)
        async for piece in request.content.iter_any():
            yield piece


class _Named(Struct):
    digest: str


class _Blobs(Struct):
    """The blobs that a manifest, or BuildKit's older index of a layer cache, consists of; annotations do not count."""

    config: _Named | None = None
    layers: list[_Named] = []
    manifests: list[_Named] = []


def _blobs_of(manifest: bytes) -> list[str]:
    try:
        blobs = msgspec.json.decode(manifest, type=_Blobs)
    except msgspec.MsgspecError:
        return []
    return [each.digest for each in (*blobs.layers, *blobs.manifests, *filter(None, (blobs.config,)))]


def _has_none(_digest: str) -> bool:
    return False


def _place_of(response: ClientResponse, target: Reference, asked: URL) -> URL:
    """Return where the registry takes the next bytes of an upload, as it says in *response*."""
    location = response.headers.get("Location", "")
    place = response.url.join(URL(location, encoded=True))
    if not location or place.origin() != asked.origin():
        raise UpstreamFailed(f"{target.registry} takes uploads at a place that is not trusted")
    return place


def _headers(response: ClientResponse) -> dict[str, str]:
    return {name: response.headers[name] for name in _RESPONSE_HEADERS if name in response.headers}


async def _limited(request: web.BaseRequest, limit: int) -> bytes:
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > limit:
            raise UpstreamFailed("the manifest is too large")
    return bytes(body)


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)
