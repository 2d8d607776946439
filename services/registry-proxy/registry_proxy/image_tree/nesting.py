"""Limits on nested indexes, checked at the root of an image before a client pulls a part of it."""

from typing import Protocol

from registry_proxy.domain.index import deeper
from swell.errors import ManifestInvalid, ManifestUnknown, TooManyRequests, UpstreamFailed
from swell.log import log
from swell.oci.document import Document
from swell.oci.media_types import INDEXES
from swell.oci.reference import Reference

MAX_NESTED = 64
"""The number of indexes below an image's root."""


class Upstream(Protocol):
    async def fetch_manifest(self, reference: Reference) -> Document: ...


async def check_nesting(upstream: Upstream, image: Reference, document: Document) -> None:
    """Check depth and number of the indexes below *document*.

    Indexes that the registry does not have are skipped: a mirror may have only some platforms.

    Raises:
        ManifestInvalid: the indexes are nested too deeply, or there are more than 64.
    """
    level, depth, seen = [document] if document.is_index else [], 0, set()
    while level:
        depth = deeper(depth)
        nested = [entry.digest for index in level for entry in index.manifests if entry.media_type in INDEXES]
        digests = [digest for digest in dict.fromkeys(nested) if digest not in seen]
        seen.update(digests)
        if len(seen) > MAX_NESTED:
            raise ManifestInvalid(f"The image leads to more than {MAX_NESTED} indexes")
        level = []
        for digest in digests:
            try:
                child = await upstream.fetch_manifest(image.at(digest))
            except (ManifestUnknown, UpstreamFailed, TooManyRequests) as error:
                log.info("nested index not checked", image=str(image), digest=digest, error=str(error))
                continue
            if child.is_index:
                level.append(child)
