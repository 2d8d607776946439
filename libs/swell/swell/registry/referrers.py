"""Referrers: manifests, such as signatures and SBOMs, that name another manifest as their subject.

A registry lists them by its referrers API. Where it has none, clients maintain an index under the referrers tag.
Sources: OCI distribution-spec, "Listing Referrers", "Pushing Manifests with Subject" and "Referrers Tag Schema",
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
"""

import asyncio
import random
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from swell.concurrency.at_once import at_once
from swell.errors import DigestInvalid, ManifestUnknown, TooLarge, UpstreamFailed
from swell.net.outbound import follow, read, send
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest, parse_digest
from swell.oci.document import Document, detect
from swell.oci.media_types import OCI_INDEX
from swell.oci.reference import Reference
from swell.oci.referrers_tag import referrers_tag
from swell.registry.client import RegistryClient
from swell.registry.push import MANIFEST_BYTES, fetch_document
from swell.registry.responses import failure

UNSUPPORTED_STATUS = frozenset({400, 404, 405, 501})
"""Responses of registries without the referrers API."""
MAX_PAGES, MAX_REFERRERS = 20, 10_000
PUSHES_AT_ONCE = 4
MERGE_ATTEMPTS = 5
"""How often an entry is added to the index of a tag while other clients replace that index."""

_changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # indexes that this process is changing

_NEXT = re.compile(r'<([^>]{1,2048})>\s*;\s*rel="?next"?')


class _Subject(Struct):
    digest: Digest


class _Referring(Struct):
    subject: _Subject | None = None


def subject_of(document: Document) -> Digest | None:
    """Return the digest of the manifest that *document* refers to; raises `ManifestInvalid`."""
    subject = document.read_as(_Referring).subject
    return subject.digest if subject else None


async def fetch_referrers(client: RegistryClient, image: Reference) -> list[Digest]:
    """Return the digests of the referrers of *image*, which has a digest, from the API or else from the referrers tag.

    Raises:
        Denied, TooManyRequests, UpstreamFailed: the registry refuses or fails.
        ManifestInvalid: its list is malformed.
        TooLarge: it lists more than 10,000 referrers.
    """
    url = client.base(image.registry) / f"v2/{image.repository}/referrers/{image.digest}"
    digests: dict[Digest, None] = {}
    for page in range(MAX_PAGES):
        async with await client.ask_url(follow, "GET", image, url, {"Accept": OCI_INDEX}) as response:
            if page == 0 and response.status in UNSUPPORTED_STATUS:
                break
            if response.status != 200:
                raise failure(response.status, response.headers, f"referrers of '{image}'", ManifestUnknown)
            index = detect(response.headers.get("Content-Type"), await read(response, MANIFEST_BYTES))
            digests |= dict.fromkeys(entry.digest for entry in _entries(index))
            if len(digests) > MAX_REFERRERS:
                raise TooLarge(f"{image.registry} lists more than {MAX_REFERRERS} referrers of {image.digest}")
            following = _next_page(response, url)
        if following is None:
            return list(digests)
        url = following
    else:
        raise UpstreamFailed(f"{image.registry} lists the referrers of {image.digest} on more than {MAX_PAGES} pages")
    tagged = await fetch_document(client, image.at(referrers_tag(str(image.digest))))
    return [entry.digest for entry in _entries(tagged)] if tagged else []


async def push_manifest(client: RegistryClient, image: Reference, document: Document) -> None:
    """Push *document* under the tag or digest of *image*; list it as a referrer where the registry does not.

    Raises:
        Denied, TooManyRequests, UpstreamFailed: the registry refuses or fails, or stores other bytes.
    """
    if not await _push(client, image, document) and (subject := subject_of(document)):
        await _list_under_tag(client, image, subject, [_descriptor(image, document)])


async def push_referrers(client: RegistryClient, repository: Reference, documents: Sequence[Document]) -> None:
    """Push *documents*, which have one subject, by their digests at once; list them together as `push_manifest` does.

    Raises:
        Denied, TooManyRequests, UpstreamFailed: the registry refuses or fails, or stores other bytes.
    """
    images = [repository.at(document.digest) for document in documents]
    pushes = (partial(_push, client, *each) for each in zip(images, documents, strict=True))
    are_listed = await at_once(PUSHES_AT_ONCE, pushes)
    unlisted = [
        _descriptor(image, document)
        for image, document, is_listed in zip(images, documents, are_listed, strict=True)
        if not is_listed
    ]
    if unlisted and (subject := subject_of(documents[0])):
        await _list_under_tag(client, repository, subject, unlisted)


async def _push(client: RegistryClient, image: Reference, document: Document) -> bool:
    """Push *document*; return whether the registry has listed it as a referrer."""
    response = await _put(client, image, document)
    _check_digest(response, image, document)
    return "OCI-Subject" in response.headers


async def _put(client: RegistryClient, image: Reference, document: Document) -> aiohttp.ClientResponse:
    url = client.base(image.registry) / f"v2/{image.repository}/manifests/{image.reference}"
    headers = {"Content-Type": document.media_type}
    response = await client.ask_url(send, "PUT", image, url, headers, data=lambda: document.content)
    response.release()
    if response.status != 201:
        raise failure(response.status, response.headers, f"'{image}'", UpstreamFailed)
    return response


def _check_digest(response: aiohttp.ClientResponse, image: Reference, document: Document) -> None:
    try:
        stored = parse_digest(response.headers.get("Docker-Content-Digest", ""))
    except DigestInvalid:
        return  # the header is optional
    if stored not in {document.digest, image.digest}:
        raise UpstreamFailed(f"{image.registry} has stored {stored} instead of {document.digest}")


async def _list_under_tag(
    client: RegistryClient, image: Reference, subject: Digest, descriptors: Sequence[Mapping[str, Any]]
) -> None:
    """Add *descriptors* to the index of the referrers of *subject*; read it again: another client may replace it."""
    tagged = image.at(referrers_tag(subject))
    async with _changing.setdefault(str(tagged), asyncio.Lock()):
        await _merge(client, tagged, descriptors)


async def _merge(client: RegistryClient, tagged: Reference, descriptors: Sequence[Mapping[str, Any]]) -> None:
    for attempt in range(MERGE_ATTEMPTS):
        index = await fetch_document(client, tagged)
        if index and index.kind != OCI_INDEX:
            raise UpstreamFailed(f"'{tagged}' is no list of referrers; it was not changed")
        listed = {entry.digest for entry in index.manifests} if index else set[Digest]()
        missing = [descriptor for descriptor in descriptors if descriptor["digest"] not in listed]
        if not missing:
            return
        if attempt:
            await asyncio.sleep(random.uniform(0.05, 0.4) * attempt)  # noqa: S311 (no secret)
        entries = index.fields.get("manifests") or () if index else ()
        changed = (index or _EMPTY_INDEX).changed(manifests=[*entries, *missing])
        if changed.size > MANIFEST_BYTES:
            raise UpstreamFailed(f"'{tagged}' lists too many referrers: it would have {changed.size} bytes")
        await _put(client, tagged, changed)
    raise UpstreamFailed(f"other clients replaced '{tagged}' {MERGE_ATTEMPTS} times while a referrer was added")


def _descriptor(image: Reference, document: Document) -> dict[str, Any]:
    """Return the entry for *document* in a list of referrers, with its artifact type and annotations."""
    fields = document.fields
    config = fields.get("config")
    artifact_type = fields.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    entry = {
        "mediaType": document.media_type,
        "digest": image.digest or document.digest,
        "size": document.size,
        "artifactType": artifact_type,
        "annotations": fields.get("annotations"),
    }
    return {name: value for name, value in entry.items() if value}


def _entries(index: Document) -> tuple[Descriptor, ...]:
    """Return the entries of a list of referrers; none if the tag names something else."""
    return index.manifests if index.kind == OCI_INDEX else ()


def _next_page(response: aiohttp.ClientResponse, url: URL) -> URL | None:
    """Return the URL of the next page, on the same server.

    Source: RFC 8288, section 3, https://www.rfc-editor.org/rfc/rfc8288#section-3
    """
    match = _NEXT.search(response.headers.get("Link", ""))
    if match is None:
        return None
    following = url.join(URL(match[1], encoded=True))
    if following.origin() != url.origin():
        raise UpstreamFailed(f"{url.authority} continues its list of referrers on another server")
    return following


_EMPTY_INDEX = Document(OCI_INDEX, msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}))
