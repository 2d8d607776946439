"""The registries that images come from.

Source: OCI distribution-spec, "Pulling manifests" and "Pulling blobs".
"""

import asyncio
import copy
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Self

import aiohttp

from registry_proxy.deliver.transfer import Body, Redirect
from registry_proxy.domain.ranges import Span, parse_content_range
from swell.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestInvalid,
    ManifestUnknown,
    SwellError,
    UpstreamBroken,
    UpstreamDown,
    UpstreamFailed,
    UpstreamSlow,
)
from swell.log import log
from swell.net.outbound import (
    REDIRECTS,
    Pace,
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
from swell.oci.digest import Digest, parse_digest
from swell.oci.document import Document, detect
from swell.oci.media_types import ACCEPT, OCI_INDEX
from swell.oci.reference import Reference
from swell.registry.aws import AwsLogins
from swell.registry.client import RegistryClient, Sender
from swell.registry.credentials import Keyring
from swell.registry.principal import Principal
from swell.registry.responses import failure
from swell.registry.verifier import verified

MANIFEST_BYTES = 4 << 20
CONFIG_BYTES = 8 << 20
PACE = Pace(silence=5.0, slowest=16 << 10, window=20.0)
"""A connection that brings a blob more slowly is replaced by another at the same byte."""
NOT_KNOWN = frozenset({400, 404, 405, 501})  # what registries say to a question that is newer than they are


class RegistryUpstream:
    """Reads images from their registries; nothing it returns has other bytes than its digest says.

    Everything up to an answer's headers takes at most the session's answer timeout: a token, two more tries when nobody
    answers or a proxy there says 502 to 504, and redirects. All methods raise:

        Denied: the registry refuses.
        TooManyRequests: it has had enough; `retry_after` is what it says.
        UpstreamFailed: it does not answer, or makes no sense.
        AddressForbidden: it is at an address that the session's policy forbids.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        keyring: Keyring,
        insecure: frozenset[str] = frozenset(),
        aws: AwsLogins | None = None,
    ) -> None:
        """Registries in *insecure* (`host` or `host:port`), and those on this machine, are spoken to by plain http."""
        self._session = session
        self._client = RegistryClient(session, keyring, insecure, aws=aws)
        self._answer_seconds = reach_of(session).answer_timeout.total_seconds()

    def acting_for(self, principal: Principal) -> Self:
        """A view that reads with the credentials of *principal*; without it, with those of `PUBLIC`."""
        view = copy.copy(self)
        view._client = self._client.acting_for(principal)
        return view

    def host_name(self, registry: str) -> str:
        """The address of *registry*, with its scheme."""
        return str(self._client.base(registry))

    async def fetch_manifest(self, reference: Reference) -> Document:
        """Read the manifest or index that *reference* names; at most 4 MiB, which come within the answer timeout.

        Raises:
            ManifestUnknown: the registry has nothing under that tag or digest.
            ManifestInvalid: what it has is no JSON object.
        """
        response, content = await self._read(lambda: self._manifest(reference), MANIFEST_BYTES)
        content = _decoded(response, content, MANIFEST_BYTES)
        for digest in filter(None, (reference.digest, _told_digest(response))):
            verified(content, digest)
        return detect(response.headers.get("Content-Type"), content)

    async def head_manifest(self, reference: Reference) -> Digest:
        """The digest of what *reference* names now, mostly without reading it.

        Raises:
            ManifestUnknown: the registry has nothing under that tag or digest.
        """
        digest = await self._told(reference)
        if digest is None or (reference.digest and _algorithm(reference.digest) != _algorithm(digest)):
            found = await self.fetch_manifest(reference)
            return reference.digest or found.digest
        if reference.digest not in {None, digest}:
            raise UpstreamFailed(f"{reference.registry} has {digest} under {reference.digest}")
        return digest

    async def fetch_referrers(self, reference: Reference) -> Document | None:
        """Read the index of what refers to *reference*, a digest: its first page; None when there is none.

        Where the registry does not know the question, the index under the referrers tag counts.
        Source: distribution-spec, "Listing Referrers" and "Referrers Tag Schema".
        """
        headers, subject = {"Accept": OCI_INDEX}, f"referrers of '{reference}'"
        async with await self._client.ask(
            follow, "GET", reference, f"referrers/{reference.reference}", headers
        ) as response:
            if response.status == 200:
                content = await self._body(response, MANIFEST_BYTES)
                return _index_of(detect(response.headers.get("Content-Type"), content))
            if response.status not in NOT_KNOWN:
                raise failure(response.status, response.headers, subject, ManifestUnknown)
        try:
            return _index_of(await self.fetch_manifest(reference.at(_referrers_tag(reference.reference))))
        except ManifestUnknown:
            return None

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document:
        """Read the config that *descriptor* names, in the repository of *reference*; at most 8 MiB.

        Raises:
            BlobUnknown: the registry does not have it.
            ManifestInvalid: *descriptor* says that it is larger.
        """
        if descriptor.size > CONFIG_BYTES:
            raise ManifestInvalid(f"the config of {reference} has more than {CONFIG_BYTES} bytes")
        response, content = await self._read(lambda: self._blob(follow, reference, descriptor.digest), CONFIG_BYTES)
        content = _decoded(response, content, CONFIG_BYTES)
        return Document(descriptor.media_type, verified(content, descriptor.digest, descriptor.size))

    @asynccontextmanager
    async def open_blob(
        self, reference: Reference, digest: Digest, part: Span | None = None, *, followed: bool = False
    ) -> AsyncIterator[Redirect | Body]:
        """A blob in the repository of *reference*, or a *part* of it, to be read in the block: its bytes, or where the
        registry keeps it unless we have *followed* there.

        The bytes are not verified yet. A redirect needs no credentials of ours: the client may follow it.

        Raises:
            BlobUnknown: the registry does not have it.
            AddressForbidden: it redirects to an address that this server itself must not connect to. Clients are not
                sent there either: they may reach a metadata service or an intranet that the registry's owner does not.
        """
        async with await self._blob(follow if followed else send, reference, digest, part) as response:
            target = redirect_of(response)
            if target:
                await check_target(self._session, target, response.url)
            yield Redirect(str(target)) if target else _body(response, part)

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None:
        """See that the registry shows a blob in the repository of *reference*; its size, if the registry says it.

        A redirect is a yes: the registry has decided before it names the place.

        Raises:
            BlobUnknown: the registry does not have it there.
        """
        response = await self._client.ask(send, "HEAD", reference, f"blobs/{digest}", {"Accept": "*/*"})
        response.release()
        if response.status >= 400 and response.status != 429:  # as with manifests, only GET tells
            response = await self._blob(send, reference, digest)
            response.close()
        subject = f"blob {digest} of repository '{reference.name}'"
        _accepted(response, subject, BlobUnknown)
        return response.content_length if response.status == 200 else None

    @asynccontextmanager
    async def read_blob(self, blob: Reference) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of *blob*, a digest in a repository, wherever the registry keeps them; not verified yet.

        Raises:
            BlobUnknown: the registry does not have it.
        """
        if blob.digest is None:
            raise BlobUnknown(f"{blob} names no blob")
        async with await self._blob(follow, blob, blob.digest) as response:
            yield pieces(response)

    async def _told(self, reference: Reference) -> Digest | None:
        """The registry's word for what *reference* names, without its bytes; None when only GET can tell.

        Docker and go-containerregistry go on with GET whatever is wrong with HEAD: some registries do not know it, do
        not authorize it, or redirect it to a place that is signed for GET alone.
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
        return _told_digest(response) if response.status == 200 else None

    async def _manifest(self, reference: Reference) -> aiohttp.ClientResponse:
        response = await self._ask_manifest("GET", reference)
        return _accepted(response, f"repository '{reference}'", ManifestUnknown)

    async def _ask_manifest(self, method: str, reference: Reference) -> aiohttp.ClientResponse:
        path = f"manifests/{reference.reference}"
        return await self._client.ask(follow, method, reference, path, {"Accept": ACCEPT})

    async def _blob(
        self, sender: Sender, reference: Reference, digest: Digest, part: Span | None = None
    ) -> aiohttp.ClientResponse:
        path, subject = f"blobs/{digest}", f"blob {digest} of repository '{reference.name}'"
        headers = {"Range": f"bytes={part.start}-{part.stop - 1}"} if part else {}
        response = await self._client.ask(sender, "GET", reference, path, {"Accept": "*/*", **headers})
        return _accepted(response, subject, BlobUnknown, {200, 206} if part else {200})

    async def _read(
        self, ask: Callable[[], Awaitable[aiohttp.ClientResponse]], limit: int
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """The answer and the whole of its body; asked for once more when that breaks off, as it is small."""
        response = await ask()
        try:
            return response, await self._body(response, limit)
        except UpstreamBroken as error:
            log.info("upstream asked again", url=str(response.url.with_query(None)), error=str(error))
        response = await ask()
        return response, await self._body(response, limit)

    async def _body(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        async with response:
            with translated(response.url):
                async with asyncio.timeout(self._answer_seconds):
                    return await read(response, limit)


def _accepted(
    response: aiohttp.ClientResponse, subject: str, absent: type[SwellError], good: Collection[int] = (200,)
) -> aiohttp.ClientResponse:
    """*response*, which has a body or says where it is."""
    if response.status in good or response.status in REDIRECTS:
        return response
    response.release()
    raise failure(response.status, response.headers, subject, absent)


def _decoded(response: aiohttp.ClientResponse, content: bytes, limit: int) -> bytes:
    """*content* without gzip, which some registries apply unasked, and some only claim to have applied.

    Raises:
        UpstreamFailed: it is in another encoding, breaks off, or has more than *limit* bytes.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    host = response.url.authority
    if encoding == "identity" or content.lstrip().startswith(b"{"):
        return content
    if encoding not in {"gzip", "x-gzip"}:
        raise UpstreamFailed(f"{host} answers in an encoding that was not asked for")
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        decoded = inflate.decompress(content, limit + 1)
    except zlib.error as error:
        raise UpstreamFailed(f"{host} answers with gzip that cannot be inflated") from error
    if len(decoded) > limit:
        raise UpstreamFailed(f"{host} sends more than {limit} bytes")
    if not inflate.eof:
        raise UpstreamFailed(f"{host} answers with gzip that breaks off")
    return decoded


def _index_of(document: Document) -> Document | None:
    """*document* if it is an index with at least one entry that makes sense."""
    return document if document.kind == OCI_INDEX and document.manifests else None


def _referrers_tag(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}-{encoded[:64]}"


def _algorithm(digest: str) -> str:
    return digest.partition(":")[0]


def _body(response: aiohttp.ClientResponse, part: Span | None) -> Body:
    """What *response* brings of a blob; not every registry heeds a wish for a *part*."""
    body = pieces(response, PACE)
    if part is None:
        return Body(body, response.content_length)
    if response.status == 200:
        return Body(_cut(body, part))
    told = parse_content_range(response.headers.get("Content-Range", ""))
    if told is None or told[0] != part.start:
        raise UpstreamFailed(f"{response.url.authority} sends another part than it was asked for")
    return Body(body, response.content_length)


async def _cut(body: AsyncIterator[bytes], part: Span) -> AsyncIterator[bytes]:
    at = 0
    async for piece in body:
        if wanted := piece[max(0, part.start - at) : max(0, part.stop - at)]:
            yield wanted
        at += len(piece)
        if at >= part.stop:
            return


def _told_digest(response: aiohttp.ClientResponse) -> Digest | None:
    """The registry's own word for what it sent; None when it gives none that we can read."""
    try:
        return parse_digest(response.headers.get("Docker-Content-Digest", ""))
    except DigestInvalid:
        return None
