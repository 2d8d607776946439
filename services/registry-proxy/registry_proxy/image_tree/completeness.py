"""Check that a registry has a whole image: its manifests, config and layers.

A repository of builds may lose a part of an image: by a clean-up of its registry, or by the deletion of a blob. Its tag
alone does not show that.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Protocol

from registry_proxy.domain.index import deeper
from swell.concurrency.at_once import at_once
from swell.errors import BlobUnknown, ManifestUnknown
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference

MAX_DOCUMENTS = 32
MAX_BLOBS = 512
CONCURRENT = 8  # requests for blobs


class Upstream(Protocol):
    async def current_digest(self, reference: Reference) -> tuple[Digest, bool]: ...

    async def head_manifest(self, reference: Reference) -> Digest: ...

    async def fetch_manifest(self, reference: Reference) -> Document: ...

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None: ...


async def check_complete(upstream: Upstream, image: Reference) -> Digest:
    """Return the digest of *image* if its registry has all of it now; without an answer, the last known digest.

    At most 32 manifests and 512 blobs are checked.

    Raises:
        ManifestUnknown: the registry does not have the tag, or a manifest or blob of the image.
        UpstreamFailed: the registry does not respond, and the digest is unknown.
    """
    digest, is_stale = await upstream.current_digest(image)
    if is_stale:
        return digest
    blobs = dict[Digest, None]()
    async for document in _manifests(upstream, image, digest):
        if document.is_manifest:
            parts = document.config, *document.layers
            blobs |= dict.fromkeys(part.digest for part in parts if part.is_distributed)
    try:
        await at_once(CONCURRENT, (partial(upstream.head_blob, image, blob) for blob in list(blobs)[:MAX_BLOBS]))
    except BlobUnknown as error:
        raise ManifestUnknown(f"{image} is not complete: {error}") from error
    return digest


async def _manifests(upstream: Upstream, image: Reference, root: Digest) -> AsyncIterator[Document]:
    """Yield the document under *root* and those below it, each of which the registry has."""
    waiting, seen = [(root, 0)], {root}
    for digest, depth in waiting:
        if depth:
            await upstream.head_manifest(image.at(digest))
        document = await upstream.fetch_manifest(image.at(digest))
        yield document
        for entry in document.manifests if document.is_index else ():
            if entry.digest not in seen and len(seen) < MAX_DOCUMENTS:
                seen.add(entry.digest)
                waiting.append((entry.digest, deeper(depth)))
