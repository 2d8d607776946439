"""Responses of the OCI distribution API: status, header fields, body.

Source: OCI distribution-spec, "API", https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#api
"""

from collections.abc import Sequence

import msgspec

from gateway.domain.location import Location
from gateway.http.endpoints import MethodNotAllowed, filter_referrers, page, parse_query
from gateway.http.errors import headers_of, oci_body
from swell.errors import SwellError
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX, OCTET_STREAM, manifest_type

Headers = list[tuple[bytes, bytes]]
RegistryResponse = tuple[int, Headers, bytes]

_VERSION = (b"docker-distribution-api-version", b"registry/2.0")
JSON = (b"content-type", b"application/json")
_STALE = (b"warning", b'110 - "Response is Stale"')  # https://www.rfc-editor.org/rfc/rfc7234#section-5.5.1


def identity(digest: str) -> Headers:
    """Return the header fields that name content by its *digest*."""
    name = digest.encode()
    return [(b"docker-content-digest", name), (b"etag", b'"' + name + b'"')]


def blob_headers(location: Location, digest: str) -> Headers:
    """Return the header fields of the blob at *location*."""
    size = str(location.size).encode()
    fields = [(b"content-type", OCTET_STREAM.encode()), (b"content-length", size), (b"accept-ranges", b"bytes")]
    return [*fields, *identity(digest), _VERSION]


def ok(body: bytes, *headers: tuple[bytes, bytes]) -> RegistryResponse:
    """Return a response 200 with *body*."""
    return 200, [*headers, (b"content-length", str(len(body)).encode()), _VERSION], body


def manifest_response(document: Document, digest: str) -> RegistryResponse:
    """Return a response 200 with a manifest or index, named by *digest*."""
    stale = [_STALE] if document.stale else []
    media_type = manifest_type(document.media_type).encode()
    return ok(document.content, (b"content-type", media_type), *identity(digest), *stale)


def not_modified(digest: str) -> RegistryResponse:
    return 304, [*identity(digest), _VERSION], b""


def redirect(url: str, digest: str) -> RegistryResponse:
    """Return a response 307 to *url*, which has the content of *digest*."""
    headers = [
        (b"location", url.encode()),
        (b"docker-content-digest", digest.encode()),
        (b"content-length", b"0"),
        _VERSION,
    ]
    return 307, headers, b""


def tags_response(repository: str, tags: Sequence[str], query: bytes) -> RegistryResponse:
    """Return a response 200 with the *tags* that *query* asks for."""
    listed = page(tags, parse_query(query))
    return ok(msgspec.json.encode({"name": repository, "tags": listed}), JSON)


def referrers_response(index: bytes, query: bytes) -> RegistryResponse:
    """Return a response 200 with the referrers in *index* that *query* asks for."""
    headers: Headers = [(b"content-type", OCI_INDEX.encode())]
    if artifact_type := parse_query(query).get("artifactType"):
        index = filter_referrers(index, artifact_type)
        headers.append((b"oci-filters-applied", b"artifactType"))
    return ok(index, *headers)


def failure(error: SwellError) -> RegistryResponse:
    """Return the response for *error*; 429 and 503 have `Retry-After`, at least 1 s."""
    body = oci_body(error)
    fields = headers_of(error)
    if error.status in {429, 503}:
        fields.setdefault("retry-after", "1")
    headers = [JSON, _VERSION, (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in fields.items()]
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", b"GET, HEAD"))
    return error.status, headers, body
