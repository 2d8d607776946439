"""A small OCI registry over HTTP, in memory, for what Debian's docker-registry lacks: the referrers API.

Source: OCI distribution-spec, https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from yarl import URL

from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX
from swell.oci.reference import Reference, parse_reference

MAX_BODY = 64 << 20


class HttpRegistry:
    """Manifests and blobs by repository. `requests` counts by method and kind, such as `PUT manifests`.

    `has_referrers` switches the referrers API; a page lists `page_size` entries. A request whose name (`PUT manifests`)
    is in `refused` gets that status. A blob in `gates` is sent when its event is set. Blobs have ranges if
    `has_ranges`; uploads continue after a broken connection. Lists of referrers end with `invented_referrers` entries
    of manifests that do not exist. A text in `announced_digest` is sent instead of the digest of manifests and blobs.
    Uploads and further pages of referrers are at `elsewhere`, such as `http://127.0.0.1:9`, if it is set.
    """

    def __init__(self, *, has_referrers: bool = True, page_size: int = 100) -> None:
        self.has_referrers = has_referrers
        self.page_size = page_size
        self.has_ranges = True
        self.authority = ""
        self.requests: Counter[str] = Counter()
        self.refused: dict[str, int] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.received = 0
        self.invented_referrers = 0
        self.announced_digest = ""
        self.elsewhere = ""
        self.manifests: dict[tuple[str, str], Document] = {}
        self.blobs: dict[tuple[str, str], bytes] = {}
        self._uploads: dict[str, bytearray] = {}

    def image(self, name: str) -> Reference:
        """The reference of *name*, as `team/tool:1`, in this registry."""
        return parse_reference(f"{self.authority}/{name}")

    def put(self, image: Reference, document: Document, *blobs: bytes) -> Digest:
        """Store *document* and *blobs* directly; return the digest of *document*."""
        for blob in blobs:
            self.blobs[image.repository, digest_of(blob)] = blob
        for name in (document.digest, image.reference):
            self.manifests[image.repository, name] = document
        return document.digest

    async def answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.removeprefix("/v2/").rsplit("/", 2)
        if request.path.rstrip("/") == "/v2":
            return web.Response()
        repository, kind, name = parts if len(parts) == 3 else ("", "", "")
        if repository.endswith("/blobs") and kind == "uploads":
            repository, kind = repository.removesuffix("/blobs"), "uploads"
        self.requests[f"{request.method} {kind}"] += 1
        if status := self.refused.get(f"{request.method} {kind}"):
            return web.Response(status=status)
        if request.method == "PATCH":
            return await self._append(request, repository, name)
        body = await request.read()
        self.received += len(body)
        match kind:
            case "manifests":
                return self._manifest(request, repository, name, body)
            case "blobs":
                if request.method == "GET" and name in self.gates:
                    await self.gates[name].wait()
                return self._blob(request, self.blobs.get((repository, name)), name)
            case "uploads":
                return self._upload(request, repository, name, body)
            case "referrers" if self.has_referrers:
                return self._referrers(request, repository, name)
        return web.Response(status=404)

    def _manifest(self, request: web.Request, repository: str, name: str, body: bytes) -> web.Response:
        if request.method != "PUT":
            document = self.manifests.get((repository, name))
            found = (document.content, document.digest, document.media_type) if document else (None, "", "")
            return self._content(*found)
        document = Document(request.headers["Content-Type"], body)
        for key in (name, document.digest):
            self.manifests[repository, key] = document
        subject = document.fields.get("subject")
        headers = {"OCI-Subject": subject["digest"]} if subject and self.has_referrers else {}
        return web.Response(status=201, headers={"Docker-Content-Digest": document.digest, **headers})

    def _content(self, content: bytes | None, digest: str, media_type: str) -> web.Response:
        if content is None:
            return web.Response(status=404)
        headers = {"Docker-Content-Digest": self.announced_digest or digest}
        return web.Response(body=content, content_type=media_type, headers=headers)

    def _blob(self, request: web.Request, content: bytes | None, digest: str) -> web.Response:
        response = self._content(content, digest, "application/octet-stream")
        if content is None or not self.has_ranges or "Range" not in request.headers:
            return response
        start = request.http_range.start or 0
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return web.Response(status=206, body=content[start:], headers=headers)

    async def _append(self, request: web.Request, repository: str, name: str) -> web.Response:
        """Store each part of the body when it arrives, so that an upload can continue after the last one."""
        start = int(request.headers.get("Content-Range", "0-").partition("-")[0])
        if start != len(self._uploads[name]):
            return web.Response(status=416)
        with suppress(ConnectionResetError):
            async for piece in request.content.iter_any():
                self._uploads[name] += piece
                self.received += len(piece)
        return self._progress(202, repository, name)

    def _progress(self, status: int, repository: str, name: str) -> web.Response:
        last = max(0, len(self._uploads[name]) - 1)
        location = f"{self.elsewhere}/v2/{repository}/blobs/uploads/{name}?at={last}"
        return web.Response(status=status, headers={"Location": location, "Range": f"0-{last}"})

    def _upload(self, request: web.Request, repository: str, name: str, body: bytes) -> web.Response:
        if request.method == "POST":
            mounted = self.blobs.get((request.query.get("from", ""), request.query.get("mount", "")))
            if mounted is not None:
                self.blobs[repository, request.query["mount"]] = mounted
                return web.Response(status=201)
            name = uuid.uuid4().hex
            self._uploads[name] = bytearray()
            return self._progress(202, repository, name)
        if request.method == "DELETE":
            return web.Response(status=204 if self._uploads.pop(name, None) is not None else 404)
        if name not in self._uploads:
            return web.Response(status=404)
        if request.method == "GET":
            return self._progress(204, repository, name)
        content = bytes(self._uploads.pop(name)) + body
        if digest_of(content) != request.query["digest"]:
            return web.Response(status=400)
        self.blobs[repository, request.query["digest"]] = content
        return web.Response(status=201)

    def _referrers(self, request: web.Request, repository: str, digest: str) -> web.Response:
        entries = [
            {"mediaType": each.media_type, "digest": each.digest, "size": each.size}
            for (where, name), each in self.manifests.items()
            if where == repository and name == each.digest
            if (each.fields.get("subject") or {}).get("digest") == digest
        ]
        entries += [
            {"mediaType": OCI_INDEX, "digest": f"sha256:{number:064x}", "size": 2}
            for number in range(self.invented_referrers)
        ]
        start = int(request.query.get("start", "0"))
        stop = start + self.page_size
        headers = {"Link": f'<{self.elsewhere}{request.path}?start={stop}>; rel="next"'} if stop < len(entries) else {}
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries[start:stop]}
        return web.Response(body=json.dumps(index).encode(), content_type=OCI_INDEX, headers=headers)


@asynccontextmanager
async def http_registry(*, has_referrers: bool = True, page_size: int = 100) -> AsyncIterator[HttpRegistry]:
    """Serve an `HttpRegistry` on a free port of loopback while the block runs."""
    registry = HttpRegistry(has_referrers=has_referrers, page_size=page_size)
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:.*}", registry.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.authority = URL(f"http://127.0.0.1:{runner.addresses[0][1]}").authority
    try:
        yield registry
    finally:
        await runner.cleanup()
