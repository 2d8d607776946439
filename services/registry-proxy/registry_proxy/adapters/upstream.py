"""Read images from their registries.

Source: OCI distribution-spec, "Pull",
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import aiohttp

from registry_proxy.adapters.upstream_responses import (
    accepted,
    algorithm,
    body_of,
    decoded,
    digest_header,
    index_of,
)
from registry_proxy.deliver.transfer import Body, Redirect
from registry_proxy.domain.ranges import Span
from swell.concurrency.deadline import at_most
from swell.errors import (
    BlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    UpstreamBroken,
    UpstreamDown,
    UpstreamFailed,
    UpstreamSlow,
)
from swell.log import log
from swell.net.outbound import (
    check_target,
    follow,
    is_unconnected,
    pieces,
    reach_of,
    read,
    redirect_of,
    send,
    translated,
)
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document, detect
from swell.oci.media_types import ACCEPT, OCI_INDEX
from swell.oci.reference import Reference
from swell.oci.referrers_tag import referrers_tag
from swell.registry.client import RegistryClient, Sender
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Keyring
from swell.registry.credentials.principal import Principal
from swell.registry.referrers import UNSUPPORTED_STATUS
from swell.registry.responses import failure
from swell.registry.verifier import verified

MANIFEST_BYTES = 4 << 20
CONFIG_BYTES = 8 << 20


class RegistryUpstream:
    """Reads images from their registries; every document it returns matches its digest.

    The session's answer timeout limits the time until the response headers. It includes fetching a token, redirects,
    and two retries after no response or a status of 502 to 504. All methods raise:

        Denied: the registry refuses.
        TooManyRequests: the registry limits requests; `retry_after` is its value.
        UpstreamFailed: the registry does not respond, or its response is invalid.
        AddressForbidden: the session's policy forbids the registry's address.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        keyring: Keyring,
        insecure: frozenset[str] = frozenset(),
        aws: AwsLogins | None = None,
    ) -> None:
        """Use plain HTTP for registries in *insecure* (`host` or `host:port`) and on loopback."""
        self._session = session
        self._client = RegistryClient(session, keyring, insecure, aws=aws)
        self._answer_seconds = reach_of(session).answer_timeout.total_seconds()

    def acting_for(self, principal: Principal) -> Self:
        """Return a view with the credentials of *principal*; the default is `PUBLIC`."""
        view = copy.copy(self)
        view._client = self._client.acting_for(principal)
        return view

    def host_name(self, registry: str) -> str:
        """Return the URL of *registry*, with its scheme."""
        return str(self._client.base(registry))

    async def fetch_manifest(self, reference: Reference) -> Document:
        """Read the manifest or index of *reference*: at most 4 MiB, within the answer timeout.

        Raises:
            ManifestUnknown: the registry has nothing under that tag or digest.
            ManifestInvalid: the content is not a JSON object.
        """
        response, content = await self._read(lambda: self._manifest(reference), MANIFEST_BYTES)
        content = decoded(response, content, MANIFEST_BYTES)
        for digest in filter(None, (reference.digest, digest_header(response))):
            verified(content, digest)
        return detect(response.headers.get("Content-Type"), content)

    async def head_manifest(self, reference: Reference) -> Digest:
        """Return the current digest of *reference*: with HEAD, or with GET if HEAD gives no digest.

        Raises:
            ManifestUnknown: the registry has nothing under that tag or digest.
        """
        digest = await self._head_digest(reference)
        if digest is None or (reference.digest and algorithm(reference.digest) != algorithm(digest)):
            document = await self.fetch_manifest(reference)
            return reference.digest or document.digest
        if reference.digest not in {None, digest}:
            raise UpstreamFailed(f"{reference.registry} has {digest} under {reference.digest}")
        return digest

    async def fetch_referrers(self, reference: Reference) -> Document | None:
        """Read the first page of the referrers of *reference*, which must have a digest; None if it has no referrers.

        If the registry lacks the referrers API, read the index under the referrers tag.

        Source: OCI distribution-spec, "Listing Referrers" and "Referrers Tag Schema",
        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema
        """
        headers, subject = {"Accept": OCI_INDEX}, f"referrers of '{reference}'"
        async with await self._client.ask(
            follow, "GET", reference, f"referrers/{reference.reference}", headers
        ) as response:
            if response.status == 200:
                content = await self._body(response, MANIFEST_BYTES)
                return index_of(detect(response.headers.get("Content-Type"), content))
            if response.status not in UNSUPPORTED_STATUS:
                raise failure(response.status, response.headers, subject, ManifestUnknown)
        try:
            return index_of(await self.fetch_manifest(reference.at(referrers_tag(reference.reference))))
        except ManifestUnknown:
            return None

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document:
        """Read the config of *descriptor* from the repository of *reference*: at most 8 MiB.

        Raises:
            BlobUnknown: the registry does not have it.
            ManifestInvalid: *descriptor* declares a larger size.
        """
        if descriptor.size > CONFIG_BYTES:
            raise ManifestInvalid(f"the config of {reference} has more than {CONFIG_BYTES} bytes")
        response, content = await self._read(lambda: self._blob(follow, reference, descriptor.digest), CONFIG_BYTES)
        content = decoded(response, content, CONFIG_BYTES)
        return Document(descriptor.media_type, verified(content, descriptor.digest, descriptor.size))

    @asynccontextmanager
    async def open_blob(
        self, reference: Reference, digest: Digest, part: Span | None = None, *, followed: bool = False
    ) -> AsyncIterator[Redirect | Body]:
        """Open a blob, or a *part* of it, in the repository of *reference*, for reading inside the block.

        Yields the bytes, not yet verified, or the registry's redirect unless *followed*. Clients can follow the
        redirect without credentials.

        Raises:
            BlobUnknown: the registry does not have it.
            AddressForbidden: the redirect's address is forbidden. Clients do not get it either: they may reach a
                metadata service or an intranet that the registry's owner cannot reach.
        """
        async with await self._blob(follow if followed else send, reference, digest, part) as response:
            target = redirect_of(response)
            if target:
                await check_target(self._session, target, response.url)
            yield Redirect(str(target)) if target else body_of(response, part)

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None:
        """Check that the registry serves a blob in the repository of *reference*; return its size in bytes if known.

        A redirect counts as success: the registry checks access before it redirects.

        Raises:
            BlobUnknown: the registry does not have it there.
        """
        response = await self._client.ask(send, "HEAD", reference, f"blobs/{digest}", {"Accept": "*/*"})
        response.release()
        if response.status >= 400 and response.status != 429:  # as for manifests, only GET is reliable
            response = await self._blob(send, reference, digest)
            response.close()
        subject = f"blob {digest} of repository '{reference.name}'"
        accepted(response, subject, BlobUnknown)
        return response.content_length if response.status == 200 else None

    @asynccontextmanager
    async def read_blob(self, blob: Reference) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open *blob*, which must have a digest, and follow redirects; the bytes are not yet verified.

        Raises:
            BlobUnknown: the registry does not have it.
        """
        if blob.digest is None:
            raise BlobUnknown(f"{blob} has no digest")
        async with await self._blob(follow, blob, blob.digest) as response:
            yield pieces(response)

    async def _head_digest(self, reference: Reference) -> Digest | None:
        """Return the digest that the registry gives for *reference* in a HEAD response; None if GET is needed.

        Like Docker and go-containerregistry, fall back to GET after any HEAD error: some registries do not support
        or authorize HEAD, or redirect it to a URL that is signed for GET only.
        """
        try:
            response = await self._ask_manifest("HEAD", reference)
        except (UpstreamSlow, UpstreamDown):
            raise
        except UpstreamFailed as error:
            if is_unconnected(error):
                raise
            log.info("HEAD failed", reference=str(reference), error=str(error))
            return None
        response.release()
        if response.status == 429:
            raise failure(response.status, response.headers, f"repository '{reference}'", ManifestUnknown)
        return digest_header(response) if response.status == 200 else None

    async def _manifest(self, reference: Reference) -> aiohttp.ClientResponse:
        response = await self._ask_manifest("GET", reference)
        return accepted(response, f"repository '{reference}'", ManifestUnknown)

    async def _ask_manifest(self, method: str, reference: Reference) -> aiohttp.ClientResponse:
        path = f"manifests/{reference.reference}"
        return await self._client.ask(follow, method, reference, path, {"Accept": ACCEPT})

    async def _blob(
        self, sender: Sender, reference: Reference, digest: Digest, part: Span | None = None
    ) -> aiohttp.ClientResponse:
        path, subject = f"blobs/{digest}", f"blob {digest} of repository '{reference.name}'"
        headers = {"Range": f"bytes={part.start}-{part.stop - 1}"} if part else {}
        response = await self._client.ask(sender, "GET", reference, path, {"Accept": "*/*", **headers})
        return accepted(response, subject, BlobUnknown, {200, 206} if part else {200})

    async def _read(
        self, request: Callable[[], Awaitable[aiohttp.ClientResponse]], limit: int
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Return the response and its whole body, which is small; retry once if the body ends early."""
        response = await request()
        try:
            return response, await self._body(response, limit)
        except UpstreamBroken as error:
            log.info("upstream request retried", url=str(response.url.with_query(None)), error=str(error))
        response = await request()
        return response, await self._body(response, limit)

    async def _body(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        async with response:
            with translated(response.url):
                async with asyncio.timeout(at_most(self._answer_seconds)):
                    return await read(response, limit)
