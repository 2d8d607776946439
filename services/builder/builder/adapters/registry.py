"""Pushing what was made here rather than by an engine: blobs and documents, straight to a registry.

Source: OCI distribution-spec, "Pushing blobs monolithically" and "Pushing manifests".
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from yarl import URL

from builder.domain.failure import BuildFailure
from builder.settings import EngineSettings
from swell.errors import ManifestUnknown, SwellError, UpstreamFailed
from swell.net.outbound import PIECE, Data, follow, read, redirect_of, send
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document, detect
from swell.oci.media_types import ACCEPT
from swell.oci.reference import Reference, parse_reference
from swell.registry.aws import AwsLogins
from swell.registry.client import RegistryClient
from swell.registry.credentials import Keyring, parse_auth_file
from swell.registry.principal import Principal
from swell.registry.responses import failure
from swell.store.records import Reason

MANIFEST_BYTES = 4 << 20
UPLOAD_SECONDS = 60
LONGEST_UPLOAD = 24 * 3600  # a bound for the library; what counts is the deadline of each upload
SLOWEST = 1 << 20  # bytes a second, below which an upload is given up


class RegistryPush:
    """Pushes to registries. What is there already is not sent again, so that pushing twice costs little.

    All methods raise `BuildFailure` with `Reason.PUSH` when the registry does not take it, or does not answer.
    """

    def __init__(self, client: RegistryClient) -> None:
        """*client* asks for tokens that allow `pull,push`."""
        self._client = client

    def acting_for(self, principal: Principal) -> "RegistryPush":
        """The same with the credentials of *principal*; without it, with those of `PUBLIC`."""
        return RegistryPush(self._client.acting_for(principal))

    async def blob(self, repository: Reference, digest: Digest, content: bytes | Path) -> None:
        """Have *content*, whose digest the caller knows to be *digest*, in *repository* (its tag says nothing)."""
        with _pushing(f"the blob {digest}"):
            if await self._has_blob(repository, digest):
                return
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            place = await self._upload_place(repository)
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            response = await self._client.ask_url(
                upload,
                "PUT",
                repository,
                URL(f"{place}{'&' if place.query_string else '?'}digest={digest}", encoded=True),
                headers,
                data=lambda: content if isinstance(content, bytes) else _pieces(content),
                seconds=UPLOAD_SECONDS + size / SLOWEST,
            )
            _expect(response, 201, f"the blob {digest} of '{repository.name}'")

    async def document(self, reference: Reference, document: Document) -> Digest:
        """Put *document*, a manifest or index, under *reference*'s tag or digest; answers its digest."""
        with _pushing(f"the manifest {document.digest}"):
            url = self._url(reference, f"manifests/{reference.reference}")
            headers = {"Content-Type": document.media_type}
            response = await self._client.ask_url(send, "PUT", reference, url, headers, data=lambda: document.content)
            _expect(response, 201, f"'{reference}'")
            return document.digest

    async def fetch(self, reference: Reference) -> Document | None:
        """The manifest or index that is under *reference*; None when there is none."""
        with _pushing(f"the manifest of {reference}"):
            return await fetch_document(self._client, reference)

    async def mount(self, repository: Reference, digest: Digest, source: Reference) -> bool:
        """Have the blob *digest* of *source*, in the same registry, in *repository* too; false when it must be sent.

        That *repository* has it already is no reason: *source* must have it.
        Source: OCI distribution-spec, "Mounting a blob from another repository".
        """
        with _pushing(f"the blob {digest}"):
            query = {"mount": digest, "from": source.repository}
            url = self._url(repository, "blobs/uploads/").with_query(query)
            response = await self._client.ask_url(
                send, "POST", repository, url, {"Content-Length": "0"}, data=lambda: b""
            )
            response.release()
            return response.status == 201

    async def has_blob(self, repository: Reference, digest: Digest) -> bool:
        """Whether *repository* has the blob *digest* already."""
        with _pushing(f"the blob {digest}"):
            return await self._has_blob(repository, digest)

    async def pushed(self, target_image: str, principal: Principal) -> Digest | None:
        """The digest of *target_image*, as names go (`oras://` may stand before it); None when it is not there."""
        document = await self.acting_for(principal).fetch(parse_reference(target_image.removeprefix("oras://")))
        return document.digest if document else None

    async def _has_blob(self, repository: Reference, digest: Digest) -> bool:
        response = await self._client.ask(follow, "HEAD", repository, f"blobs/{digest}", {})
        response.release()
        if response.status not in {200, 404}:
            raise failure(response.status, response.headers, f"a blob of '{repository.name}'", UpstreamFailed)
        return response.status == 200

    async def _upload_place(self, repository: Reference) -> URL:
        """Where the registry wants the bytes; what it gives may be relative, and carries its own state."""
        url = self._url(repository, "blobs/uploads/")
        response = await self._client.ask_url(send, "POST", repository, url, {"Content-Length": "0"}, data=lambda: b"")
        _expect(response, 202, f"an upload to '{repository.name}'")
        location = response.headers.get("Location", "")
        place = response.url.join(URL(location, encoded=True))
        if not location or place.origin() != url.origin():
            raise UpstreamFailed(f"{repository.registry} takes uploads at a place that we do not trust")
        return place

    def _url(self, reference: Reference, path: str) -> URL:
        return self._client.base(reference.registry) / f"v2/{reference.repository}/" / path


async def fetch_document(client: RegistryClient, reference: Reference) -> Document | None:
    """The manifest or index that is under *reference*, at most 4 MiB; None when there is none.

    Raises:
        Denied, UpstreamFailed, ManifestInvalid: the registry does not show it, or it makes no sense.
    """
    response = await client.ask(follow, "GET", reference, f"manifests/{reference.reference}", {"Accept": ACCEPT})
    async with response:
        if response.status == 404:
            return None
        if response.status != 200:
            raise failure(response.status, response.headers, f"'{reference}'", ManifestUnknown)
        content = await read(response, MANIFEST_BYTES)
    if reference.digest and reference.digest != digest_of(content):
        raise UpstreamFailed(f"{reference.registry} has other bytes under {reference.digest}")
    return detect(response.headers.get("Content-Type"), content)


async def upload(
    session: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], data: Data | None = None
) -> aiohttp.ClientResponse:
    """Send *data*, for as long as the caller's deadline allows; nobody may send us and our data elsewhere."""
    response = await send(session, method, url, headers, data, seconds=LONGEST_UPLOAD)
    if redirect_of(response):
        response.release()
        raise UpstreamFailed(f"{url.authority} sends an upload elsewhere")
    return response


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece


def _expect(response: aiohttp.ClientResponse, status: int, subject: str) -> None:
    response.release()
    if response.status != status:
        raise failure(response.status, response.headers, subject, UpstreamFailed)


@contextmanager
def _pushing(what: str) -> Iterator[None]:
    try:
        yield
    except SwellError as error:
        raise BuildFailure(Reason.PUSH, f"The registry did not take {what}: {error}.") from error


def pusher(session: aiohttp.ClientSession, settings: EngineSettings, aws: AwsLogins) -> RegistryClient:
    """Asks registries with the operator's credentials for pushing, where they may be used; read once, at the start."""
    file = settings.push_auth_file
    keyring = parse_auth_file(file.read_bytes(), settings.credential_rules.may_push) if file else Keyring()
    insecure = frozenset(settings.insecure_registries)
    return RegistryClient(session, keyring, insecure, actions="pull,push", aws=aws)


def prober(session: aiohttp.ClientSession, settings: EngineSettings) -> RegistryClient:
    """Reads registries without any credentials."""
    return RegistryClient(session, Keyring(), frozenset(settings.insecure_registries))
