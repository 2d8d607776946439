"""The registries behind the push gateway."""

from collections.abc import AsyncIterator, Callable, Mapping

from aiohttp import ClientResponse, web
from yarl import URL

from builder.buildkit.network.answers import MANIFEST_BYTES, headers_of
from swell.errors import SwellError
from swell.net.outbound import follow, read, send
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.push import upload
from swell.registry.responses import answered

_UPLOAD_SECONDS = 24 * 3600.0  # the time limit of the build counts


class TargetRegistry:
    """Sends the requests of one build; *client* has the credentials, and asks for tokens that allow `pull,push`."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self.trouble: SwellError | None = None
        """What the registry refused last."""

    async def read(self, request: web.BaseRequest, target: Reference, path: str) -> ClientResponse:
        """Send the HEAD or GET *request* for *path* of the repository of *target*."""
        headers = {"Accept": request.headers["Accept"]} if "Accept" in request.headers else {}
        return await self._client.ask(follow, request.method, target, path, headers)

    async def has_blob(self, repository: Reference, digest: str) -> bool:
        """Return whether the repository has a blob."""
        response = await self._client.ask(follow, "HEAD", repository, f"blobs/{digest}", {})
        response.release()
        return response.status == 200

    async def put_manifest(self, target: Reference, reference: str, media_type: str, content: bytes) -> web.Response:
        url, headers = self._url(target, f"manifests/{reference}"), {"Content-Type": media_type}
        response = await self._client.ask_url(send, "PUT", target, url, headers, data=lambda: content)
        self._note_refusal(response, target)
        async with response:
            body = await read(response, MANIFEST_BYTES)
            return web.Response(status=response.status, headers=headers_of(response), body=body)

    async def start_upload(self, target: Reference, query: Mapping[str, str] = {}) -> ClientResponse:
        """Start an upload to the repository of *target*, or with `mount` and `from` in *query*, mount a blob."""
        url = self._url(target, "blobs/uploads/").with_query(query)
        response = await self._client.ask_url(send, "POST", target, url, {"Content-Length": "0"}, data=lambda: b"")
        response.release()
        return response

    async def cancel_upload(self, target: Reference, url: URL) -> None:
        """Cancel the upload at *url*, as registries of the Docker API can; others drop it after some time.

        A token for `pull,push` may not suffice: docker-registry requires the action `delete`.
        Source: "Canceling an Upload", https://github.com/distribution/distribution/blob/v2.8.3/docs/spec/api.md
        """
        (await self._client.ask_once(send, "DELETE", target, url)).release()

    async def continue_upload(
        self,
        method: str,
        target: Reference,
        url: URL,
        headers: Mapping[str, str],
        body: Callable[[], AsyncIterator[bytes]],
    ) -> ClientResponse:
        response = await self._client.ask_url(upload, method, target, url, headers, data=body, seconds=_UPLOAD_SECONDS)
        response.release()
        self._note_refusal(response, target)
        return response

    def _note_refusal(self, response: ClientResponse, target: Reference) -> None:
        if response.status >= 400:
            self.trouble = answered(response.status, f"{target.registry} answers {response.status}")

    def _url(self, reference: Reference, path: str) -> URL:
        return self._client.base(reference.registry) / f"v2/{reference.repository}/" / path
