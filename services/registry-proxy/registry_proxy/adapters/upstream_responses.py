"""Read the responses of registries: their status, header fields and bodies."""

import zlib
from collections.abc import AsyncIterator, Collection

import aiohttp

from registry_proxy.deliver.transfer import Body
from registry_proxy.domain.ranges import Span
from swell.errors import (
    DigestInvalid,
    SwellError,
    UpstreamFailed,
)
from swell.net.outbound import (
    REDIRECTS,
    Pace,
    pieces,
)
from swell.net.ranges import parse_content_range
from swell.oci.digest import Digest, parse_digest
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX
from swell.registry.responses import failure

PACE = Pace(silence=5.0, slowest=16 << 10, window=20.0)
"""A slower connection is replaced by another one at the same byte."""


def accepted(
    response: aiohttp.ClientResponse, subject: str, absent: type[SwellError], good: Collection[int] = (200,)
) -> aiohttp.ClientResponse:
    """Return *response* if it has a body or a redirect; raise the error for its status otherwise."""
    if response.status in good or response.status in REDIRECTS:
        return response
    response.release()
    raise failure(response.status, response.headers, subject, absent)


def decoded(response: aiohttp.ClientResponse, content: bytes, limit: int) -> bytes:
    """Decompress *content*: some registries send gzip unrequested, and some declare gzip but send plain JSON.

    Raises:
        UpstreamFailed: the encoding is not gzip, or the content is truncated or longer than *limit* bytes.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    host = response.url.authority
    if encoding == "identity" or content.lstrip().startswith(b"{"):
        return content
    if encoding not in {"gzip", "x-gzip"}:
        raise UpstreamFailed(f"{host} uses a content encoding that was not requested")
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        decoded = inflate.decompress(content, limit + 1)
    except zlib.error as error:
        raise UpstreamFailed(f"{host} sends invalid gzip") from error
    if len(decoded) > limit:
        raise UpstreamFailed(f"{host} sends more than {limit} bytes")
    if not inflate.eof:
        raise UpstreamFailed(f"{host} sends truncated gzip")
    return decoded


def index_of(document: Document) -> Document | None:
    """Return *document* if it is an index with at least one valid entry."""
    return document if document.kind == OCI_INDEX and document.manifests else None


def algorithm(digest: str) -> str:
    """Return the algorithm of *digest*, such as `sha256`."""
    return digest.partition(":")[0]


def body_of(response: aiohttp.ClientResponse, part: Span | None) -> Body:
    """Return the body of a blob response; some registries ignore `Range`, so cut the *part* out of the whole."""
    body = pieces(response, PACE)
    if part is None:
        return Body(body, response.content_length)
    if response.status == 200:
        return Body(_cut(body, part))
    content_range = parse_content_range(response.headers.get("Content-Range", ""))
    if content_range is None or content_range[0] != part.start:
        raise UpstreamFailed(f"{response.url.authority} sends another range than the requested one")
    return Body(body, response.content_length)


async def _cut(body: AsyncIterator[bytes], part: Span) -> AsyncIterator[bytes]:
    at = 0
    async for piece in body:
        if selected := piece[max(0, part.start - at) : max(0, part.stop - at)]:
            yield selected
        at += len(piece)
        if at >= part.stop:
            return


def digest_header(response: aiohttp.ClientResponse) -> Digest | None:
    """Return the digest in the response headers; None if it is missing or invalid."""
    try:
        return parse_digest(response.headers.get("Docker-Content-Digest", ""))
    except DigestInvalid:
        return None
