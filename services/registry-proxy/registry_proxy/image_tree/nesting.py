"""Indexes within indexes: an image that nests too many is refused at its root, not when a client is half way down."""

from typing import Protocol

from registry_proxy.domain.augment import deeper
from swell.errors import ManifestInvalid, ManifestUnknown, TooManyRequests, UpstreamFailed
from swell.log import log
from swell.oci.document import Document
from swell.oci.media_types import INDEXES
from swell.oci.reference import Reference

NESTED = 64
"""How many indexes an index may lead to."""


class Upstream(Protocol):
    async def fetch_manifest(self, reference: Reference) -> Document: ...


async def check_nesting(upstream: Upstream, image: Reference, document: Document) -> None:
    """See that every index below *document* can be served; the registry is asked only where there are any.

    An index that the registry does not have now is left out: mirrors of some platforms lack the others.

    Raises:
        ManifestInvalid: indexes are nested too deeply, or there are too many of them.
    """
    level, depth, seen = [document] if document.is_index else [], 0, set()
    while level:
        depth = deeper(depth)
        nested = [entry.digest for index in level for entry in index.manifests if entry.media_type in INDEXES]
        digests = [digest for digest in dict.fromkeys(nested) if digest not in seen]
        seen.update(digests)
        if len(seen) > NESTED:
            raise ManifestInvalid(f"The image leads to more than {NESTED} indexes")
        level = []
        for digest in digests:
            try:
                child = await upstream.fetch_manifest(image.at(digest))
            except (ManifestUnknown, UpstreamFailed, TooManyRequests) as error:
                log.info("nested index not checked", image=str(image), digest=digest, error=str(error))
                continue
            if child.is_index:
                level.append(child)
