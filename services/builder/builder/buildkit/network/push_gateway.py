"""Where buildkitd pushes to: a registry of one build, which passes everything on to the real one.

buildkitd is not given the operator's credentials for pushing: with these, a `FROM` line could read what others have
pushed to the same registry. Instead it pushes to this gateway, which has the credentials and passes on no more than
pushing one tag takes, and reading and writing the layer cache. Source: OCI distribution-spec, "Pull" and
"Push", https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pull
"""

import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import web
from msgspec import Struct

from builder.buildkit.network.answers import ANY_TYPE, MANIFEST_BYTES, error, found, headers_of, read_manifest
from builder.buildkit.network.possession import Possession
from builder.buildkit.network.target_registry import TargetRegistry
from builder.buildkit.network.uploads import Uploads
from builder.buildkit.provenance.attestation import EMPTY_CONFIG_DIGEST, STATEMENT, Attestation
from swell.errors import Denied, SwellError
from swell.net.outbound import pieces, read
from swell.oci.digest import digest_of
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient

HOST, PORT = "127.0.0.2", 5000
"""Where the gateway listens in buildkitd's network namespace; on loopback, so that BuildKit speaks plain http."""
REGISTRY = f"{HOST}:{PORT}"

_PATH = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs/uploads|blobs)/(?P<reference>[^/]*)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SMALL = 256 << 10  # bytes of a blob that is sent faster than the registry says whether it has it


class Store(Protocol):
    """The blobs of buildkitd."""

    def has_blob(self, digest: str) -> bool:
        """Whether buildkitd has all bytes of *digest*."""

    def has_new_blob(self, digest: str, since: float, limit: int) -> bool:
        """Whether `has_blob`, with at most *limit* bytes, which were stored after *since*, as `time.time` counts."""


class Repository(Struct, frozen=True):
    """A repository that a build may push to: only the tag of *reference*, or with `is_cache` any, which it may read."""

    reference: Reference
    is_cache: bool = False


class PushGateway:
    """Pushes for one build; *client* has the credentials, and asks for tokens that allow `pull,push`.

    *repositories* are what buildkitd calls them here. Layers of *bases* may be mounted, see `Possession`. *attestation*
    takes the provenance out of the push of the image.
    """

    def __init__(
        self,
        client: RegistryClient,
        repositories: Mapping[str, Repository],
        bases: Iterable[Reference],
        attestation: Attestation | None = None,
        may_mount: Callable[[Reference], Awaitable[bool]] | None = None,
    ) -> None:
        self.registry = TargetRegistry(client)
        self._repositories = dict(repositories)
        self._uploads = Uploads(self.registry)
        self._possession = Possession(self.registry, bases, may_mount, self._uploads.begun)
        self.attestation = attestation
        self._is_tagged = self._is_expected = False
        self._store: Store | None = None
        self._since = time.time()

    @property
    def cache(self) -> Reference | None:
        """The repository of the layer cache, if the build has one."""
        return next((each.reference for each in self._repositories.values() if each.is_cache), None)

    @property
    def is_pushed(self) -> bool:
        """Whether the registry has the image, and nothing else is pushed: no layer cache, and no image without
        `attestation`, whose manifests come in several requests.
        """
        return self._is_tagged and self.attestation is not None and self.cache is None

    def expect_push(self) -> None:
        """Start the uploads of a config and a layer, which buildkitd is about to send, if it sends an image."""
        if self.attestation and not self._is_expected:
            self._is_expected = True
            for target in (each.reference for each in self._repositories.values() if not each.is_cache):
                self._uploads.begin_ahead(target, 2)

    @asynccontextmanager
    async def serve(self, listening: socket.socket, store: Store) -> AsyncIterator[None]:
        """Serve connections of *listening*, from the buildkitd with *store*, for the length of the block."""
        self._store, self._possession.daemon_has = store, store.has_blob
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            yield
        finally:
            await self._uploads.close()
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path in {"/v2", "/v2/"}:
            return web.Response()
        path = _PATH.fullmatch(request.path)
        repository = self._repositories.get(path["name"]) if path else None
        if path is None or repository is None:
            return error(403, "DENIED", "this build may not use that repository")
        try:
            answer = await self._answer(request, path, repository)
        except Denied as refusal:
            self.registry.trouble = refusal
            return error(403, "DENIED", str(refusal))
        except SwellError as failure:
            self.registry.trouble = failure
            return error(502, "UNKNOWN", str(failure))
        return answer or error(405, "UNSUPPORTED", "this build may not do that")

    async def _answer(
        self, request: web.BaseRequest, path: re.Match[str], repository: Repository
    ) -> web.StreamResponse | None:
        """Return the answer to *request*; None if a build may not send it."""
        kind, name, reference = path["kind"], path["name"], path["reference"]
        attestation = None if repository.is_cache else self.attestation
        if kind == "blobs/uploads":
            if request.method == "POST" and not reference:
                return await self._uploads.start(name, repository.reference, attestation)
            if request.method in {"PUT", "PATCH", "GET", "DELETE"}:
                return await self._uploads.proceed(request, name, reference, attestation)
            return None
        if not (repository.is_cache or _DIGEST.fullmatch(reference) or reference == repository.reference.reference):
            return None
        if request.method == "GET":
            return (
                await self._read_cache(request, repository.reference, kind, reference) if repository.is_cache else None
            )
        if kind == "blobs":
            return await self._has_blob(request, repository.reference, reference, attestation)
        if request.method == "PUT":
            return await self._put_manifest(request, repository.reference, reference, attestation)
        return await self._has_manifest(request, repository.reference, reference, attestation)

    async def _read_cache(
        self, request: web.BaseRequest, cache: Reference, kind: str, reference: str
    ) -> web.StreamResponse:
        async with await self.registry.read(request, cache, f"{kind}/{reference}") as response:
            if kind == "manifests" and response.status == 200:
                content = await read(response, MANIFEST_BYTES)
                self._possession.add_cached(cache, content)
                return web.Response(body=content, headers=headers_of(response))
            answer = web.StreamResponse(status=response.status, headers=headers_of(response))
            await answer.prepare(request)
            async for piece in pieces(response):
                await answer.write(piece)
            return answer

    async def _has_blob(
        self, request: web.BaseRequest, target: Reference, digest: str, attestation: Attestation | None
    ) -> web.StreamResponse | None:
        """Return whether buildkitd need not push the blob *digest*.

        It sends a small one of this build at once: to ask the registry, and for a mount, would take longer.
        """
        if request.method != "HEAD":
            return None
        if attestation and digest == EMPTY_CONFIG_DIGEST:
            return found(digest)  # so that it is not pushed
        is_statement = attestation and STATEMENT in request.headers.get("Accept", "")
        if attestation and not is_statement and self._store and self._store.has_new_blob(digest, self._since, _SMALL):
            self._uploads.begin(target)
            return error(404, "BLOB_UNKNOWN", "this build has not pushed that blob")
        if not is_statement and await self._possession.may_reuse(target, digest):
            response = await self.registry.read(request, target, f"blobs/{digest}")
            response.release()
            if response.status != 404:
                return web.Response(status=response.status, headers=headers_of(response))
        if not is_statement and await self._possession.mount(target, digest):
            return found(digest)
        return error(404, "BLOB_UNKNOWN", "this build has not pushed that blob")

    async def _has_manifest(
        self, request: web.BaseRequest, target: Reference, reference: str, attestation: Attestation | None
    ) -> web.StreamResponse | None:
        if request.method != "HEAD":
            return None
        if attestation:
            return error(404, "MANIFEST_UNKNOWN", "this build has not pushed that manifest")
        response = await self.registry.read(request, target, f"manifests/{reference}")
        response.release()
        return web.Response(status=response.status, headers=headers_of(response))

    async def _put_manifest(
        self, request: web.BaseRequest, target: Reference, reference: str, attestation: Attestation | None
    ) -> web.StreamResponse:
        """Push a manifest. With *attestation* only that of the image, under its tag; it gets the others of the push."""
        content, media_type = await read_manifest(request), request.headers.get("Content-Type", ANY_TYPE)
        if attestation is None:
            return await self.registry.put_manifest(target, reference, media_type, content)
        if reference != target.reference:
            attestation.takes_manifest(media_type, content)
        else:
            answer = await self.registry.put_manifest(target, reference, *attestation.image(media_type, content))
            if answer.status != 201:
                return answer
            self._is_tagged = True
        return found(digest_of(content), 201)
