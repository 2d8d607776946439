"""Uploads of blobs through the push gateway.

buildkitd receives names of the gateway's for them, so that it can continue only those that it has started.
Source: OCI distribution-spec, "Pushing Blobs",
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import suppress

from aiohttp import ClientResponse, web
from msgspec import Struct
from yarl import URL

from builder.buildkit.network.answers import ANY_TYPE, error, found, headers_of
from builder.buildkit.network.target_registry import TargetRegistry
from builder.buildkit.provenance.attestation import MAX_BLOB, Attestation
from swell.concurrency.tasks import TaskOwner
from swell.errors import UpstreamBroken, UpstreamFailed
from swell.oci.digest import digest_of
from swell.oci.reference import Reference
from swell.registry.responses import answered

_CANCEL_WITHIN = 2.0  # seconds
_HEADERS = ("Accept", "Content-Type", "Content-Length", "Content-Range")


class _Upload(Struct, frozen=True):
    """An upload to the repository of *target*, which is *name* here. Its `place` is None until it has bytes."""

    name: str
    target: Reference
    place: URL | None


class Uploads:
    """The uploads of one build."""

    def __init__(self, registry: TargetRegistry) -> None:
        self._registry = registry
        self._uploads: dict[str, _Upload] = {}
        self._begun: dict[Reference, list[Awaitable[ClientResponse]]] = {}
        self._tasks = TaskOwner()
        self._ahead = 0

    def begun(self, target: Reference, response: ClientResponse) -> None:
        """Use the upload that *response* begins for the next blob: the repository of *target* did not mount one."""
        begun = asyncio.get_running_loop().create_future()
        begun.set_result(response)
        self._begun.setdefault(target, []).append(begun)

    def begin(self, target: Reference) -> None:
        """Start an upload in the repository of *target*, for a blob that buildkitd is about to send."""
        if self._ahead:
            self._ahead -= 1
        else:
            self._begin(target)

    def begin_ahead(self, target: Reference, count: int) -> None:
        """Start the uploads of the next *count* calls of `begin`."""
        self._ahead += count
        for _ in range(count):
            self._begin(target)

    def _begin(self, target: Reference) -> None:
        self._begun.setdefault(target, []).append(self._tasks.start(self._registry.start_upload(target)))

    async def close(self) -> None:
        """Cancel the uploads that no blob has used."""
        unused = [self._cancel(target, each) for target, begun in self._begun.items() for each in begun]
        self._begun.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_WITHIN):
                await asyncio.gather(*unused, return_exceptions=True)
        await self._tasks.cancel()

    async def _cancel(self, target: Reference, begun: Awaitable[ClientResponse]) -> None:
        response = await begun
        if response.status == 202:
            await self._registry.cancel_upload(target, _place_of(response, target, response.url))

    async def start(self, name: str, target: Reference, attestation: Attestation | None) -> web.Response:
        """Start an upload. With *attestation*, the registry gets it with its bytes, if it is for the registry."""
        place = None if attestation else await self._place(target)
        return self._unfinished(_Upload(name, target, place))

    async def proceed(
        self, request: web.BaseRequest, name: str, key: str, attestation: Attestation | None
    ) -> web.Response:
        """Pass *request* on to the upload *key*, or give its bytes to *attestation*."""
        upload = self._uploads.pop(key, None)
        if upload is None or upload.name != name:
            return error(404, "BLOB_UPLOAD_UNKNOWN", "that upload is unknown")
        body = _Body(request)
        if attestation and (document := await body.document(MAX_BLOB)) and attestation.takes_blob(document):
            return found(digest_of(document), 201)
        url = place = upload.place or await self._place(upload.target)
        if digest := request.query.get("digest"):
            url = URL(f"{place}{'&' if place.query_string else '?'}digest={digest}", encoded=True)
        headers = {each: request.headers[each] for each in _HEADERS if each in request.headers}
        headers.setdefault("Content-Type", ANY_TYPE)
        response = await self._registry.continue_upload(request.method, upload.target, url, headers, body)
        if response.status == 202:
            place = _place_of(response, upload.target, place)
            return self._unfinished(_Upload(name, upload.target, place), headers_of(response))
        return web.Response(status=response.status, headers=headers_of(response))

    async def _place(self, target: Reference) -> URL:
        """Start an upload in the registry, and return where it takes the bytes."""
        begun = self._begun.get(target)
        response = await (begun.pop() if begun else self._registry.start_upload(target))
        if response.status != 202:
            raise answered(response.status, f"{target.registry} answers {response.status}")
        return _place_of(response, target, response.url)

    def _unfinished(self, upload: _Upload, headers: Mapping[str, str] = {}) -> web.Response:
        """Return the answer for an upload that continues, under a name of ours."""
        key = secrets.token_hex(16)
        self._uploads[key] = upload
        ours = {"Location": f"/v2/{upload.name}/blobs/uploads/{key}", "Content-Length": "0"}
        return web.Response(status=202, headers={"Range": "0-0", **headers, **ours})


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


def _place_of(response: ClientResponse, target: Reference, asked: URL) -> URL:
    """Return where the registry takes the next bytes of an upload, as it says in *response*."""
    location = response.headers.get("Location", "")
    place = response.url.join(URL(location, encoded=True))
    if not location or place.origin() != asked.origin():
        raise UpstreamFailed(f"{target.registry} takes uploads at a place that is not trusted")
    return place
