"""Push blobs and manifests to a registry.

Source: OCI distribution-spec, "Pushing blobs monolithically" and "Pushing manifests",
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import aiohttp
from yarl import URL

from swell.errors import ManifestUnknown, UpstreamFailed
from swell.net.outbound import PIECE, Data, follow, read, redirect_of, send
from swell.oci.digest import Digest
from swell.oci.document import Document, detect
from swell.oci.media_types import ACCEPT
from swell.oci.reference import Reference, parse_reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.principal import Principal
from swell.registry.responses import failure
from swell.registry.verifier import verified

MANIFEST_BYTES = 4 << 20
UPLOAD_SECONDS = 60
LONGEST_UPLOAD = 24 * 3600  # limit of the HTTP client; each upload has a shorter deadline
SLOWEST = 1 << 20  # bytes per second; the deadline of an upload assumes this speed

Translation = Callable[[str], AbstractContextManager[None]]


def _unchanged(_subject: str) -> AbstractContextManager[None]:
    return nullcontext()


class RegistryPush:
    """Pushes blobs and manifests. Existing blobs are not sent again.

    Raises:
        Denied, TooManyRequests, UpstreamFailed, Unavailable: every method, when the registry refuses the request,
            fails or does not answer; or what *translation* raises instead.
    """

    def __init__(self, client: RegistryClient, translation: Translation = _unchanged) -> None:
        """*client* requests tokens with the actions `pull,push`.

        Every request runs inside the context manager `translation(subject)`, which may convert errors.
        """
        self._client = client
        self._translation = translation

    def acting_for(self, principal: Principal) -> "RegistryPush":
        """Return a copy that uses the credentials of *principal*; the initial principal is `PUBLIC`."""
        return RegistryPush(self._client.acting_for(principal), self._translation)

    async def blob(self, repository: Reference, digest: Digest, content: bytes | Path) -> None:
        """Upload *content* to *repository* unless the blob exists; the tag of *repository* is ignored.

        The caller has verified that *digest* is the digest of *content*. The deadline is 60 s and 1 s per MiB.
        """
        with self._translation(f"the blob {digest}"):
            if not await has_blob(self._client, repository, digest):
                await upload_blob(self._client, repository, digest, content)

    async def document(self, reference: Reference, document: Document) -> Digest:
        """Upload *document*, a manifest or index, under the tag or digest of *reference*; return its digest."""
        with self._translation(f"the manifest {document.digest}"):
            url = self._url(reference, f"manifests/{reference.reference}")
            headers = {"Content-Type": document.media_type}
            response = await self._client.ask_url(send, "PUT", reference, url, headers, data=lambda: document.content)
            _expect(response, 201, f"'{reference}'")
            return document.digest

    async def fetch(self, reference: Reference) -> Document | None:
        """Fetch the manifest or index of *reference*; None when it is missing."""
        with self._translation(f"the manifest of {reference}"):
            return await fetch_document(self._client, reference)

    async def mount(self, repository: Reference, digest: Digest, source: Reference) -> bool:
        """Mount the blob *digest* of *source*, in the same registry, into *repository*; false when it must be uploaded.

        The registry mounts only a blob that *source* contains, even when *repository* contains it already.
        """
        with self._translation(f"the blob {digest}"):
            return await mount_blob(self._client, repository, digest, source) is None

    async def has_blob(self, repository: Reference, digest: Digest) -> bool:
        """Return whether *repository* contains the blob *digest*."""
        with self._translation(f"the blob {digest}"):
            return await has_blob(self._client, repository, digest)

    async def pushed(self, target_image: str, principal: Principal) -> Digest | None:
        """Return the digest of *target_image*, which may begin with `oras://`; None when it is missing."""
        document = await self.acting_for(principal).fetch(parse_reference(target_image.removeprefix("oras://")))
        return document.digest if document else None

    def _url(self, reference: Reference, path: str) -> URL:
        return self._client.base(reference.registry) / f"v2/{reference.repository}/" / path


async def has_blob(client: RegistryClient, repository: Reference, digest: Digest) -> bool:
    """Return whether *repository* contains the blob *digest*."""
    response = await client.ask(follow, "HEAD", repository, f"blobs/{digest}", {})
    response.release()
    if response.status not in {200, 404}:
        raise failure(response.status, response.headers, f"a blob of '{repository.name}'", UpstreamFailed)
    return response.status == 200


async def upload_blob(client: RegistryClient, repository: Reference, digest: Digest, content: bytes | Path) -> None:
    """Upload *content*, as `RegistryPush.blob`, without asking whether it exists."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    location = await open_upload(client, repository)
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    response = await client.ask_url(
        upload,
        "PUT",
        repository,
        with_digest(location, digest),
        headers,
        data=lambda: content if isinstance(content, bytes) else _pieces(content),
        seconds=UPLOAD_SECONDS + size / SLOWEST,
    )
    _expect(response, 201, f"the blob {digest} of '{repository.name}'")


async def open_upload(client: RegistryClient, repository: Reference) -> URL:
    """Open an upload and return its URL, which may carry the registry's state in its query."""
    url = client.base(repository.registry) / f"v2/{repository.repository}/blobs/uploads/"
    response = await client.ask_url(send, "POST", repository, url, {"Content-Length": "0"}, data=lambda: b"")
    _expect(response, 202, f"an upload to '{repository.name}'")
    return upload_location(response, url, repository)


async def mount_blob(client: RegistryClient, repository: Reference, digest: Digest, source: Reference) -> URL | None:
    """Mount the blob *digest* of *source* into *repository*; None when it is mounted, else the URL of an upload.

    Source: OCI distribution-spec, "Mounting a blob from another repository",
    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#mounting-a-blob-from-another-repository
    """
    url = client.base(repository.registry) / f"v2/{repository.repository}/blobs/uploads/"
    query = {"mount": digest, "from": source.repository}
    headers = {"Content-Length": "0"}
    response = await client.ask_url(send, "POST", repository, url.with_query(query), headers, data=lambda: b"")
    if response.status == 201:
        response.release()
        return None
    if response.status != 202:  # a registry may refuse the other repository
        response.release()
        return await open_upload(client, repository)
    response.release()
    return upload_location(response, url, repository)


def upload_location(response: aiohttp.ClientResponse, url: URL, repository: Reference) -> URL:
    """Return the URL in *response* at which an upload that was opened or continued at *url* goes on.

    Raises:
        UpstreamFailed: it is missing, or on another host, which would receive the credentials.
    """
    location = response.headers.get("Location", "")
    resolved = response.url.join(URL(location, encoded=True))
    if not location or resolved.origin() != url.origin():
        raise UpstreamFailed(f"{repository.registry} gives a location for uploads that is not on its own host")
    return resolved


def with_digest(location: URL, digest: Digest) -> URL:
    """Return the URL that ends the upload at *location*."""
    return URL(f"{location}{'&' if location.query_string else '?'}digest={digest}", encoded=True)


async def fetch_document(client: RegistryClient, reference: Reference) -> Document | None:
    """Fetch the manifest or index of *reference*, at most 4 MiB; None when it is missing.

    Raises:
        Denied, UpstreamFailed: the registry refuses or fails, or sends bytes with another digest.
        ManifestInvalid: the content is not a manifest or index.
    """
    response = await client.ask(follow, "GET", reference, f"manifests/{reference.reference}", {"Accept": ACCEPT})
    async with response:
        if response.status == 404:
            return None
        if response.status != 200:
            raise failure(response.status, response.headers, f"'{reference}'", ManifestUnknown)
        content = await read(response, MANIFEST_BYTES)
    if reference.digest:
        verified(content, reference.digest)
    return detect(response.headers.get("Content-Type"), content)


async def upload(
    session: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], data: Data | None = None
) -> aiohttp.ClientResponse:
    """Send *data* until the deadline of the caller; redirects are refused, because they would receive the data."""
    response = await send(session, method, url, headers, data, seconds=LONGEST_UPLOAD)
    if redirect_of(response):
        response.release()
        raise UpstreamFailed(f"{url.authority} redirects an upload")
    return response


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece


def _expect(response: aiohttp.ClientResponse, status: int, subject: str) -> None:
    response.release()
    if response.status != status:
        raise failure(response.status, response.headers, subject, UpstreamFailed)
