"""Resolve an image that a request names to its current digest."""

from collections.abc import Sequence

from registry_proxy.image_tree.completeness import check_complete
from registry_proxy.image_tree.platforms import check_platforms
from registry_proxy.image_tree.tree import Upstream
from swell.oci.digest import Digest
from swell.oci.platform import Platform
from swell.oci.reference import Reference


async def resolve(upstream: Upstream, image: Reference, platforms: Sequence[Platform], *, complete: bool) -> Digest:
    """Return the current digest of *image*.

    Raises:
        BadRequest: the image lacks one of *platforms*.
        ManifestUnknown: it does not exist, or *complete* is set and the registry lacks a part of it.
    """
    if complete:
        return await check_complete(upstream, image)
    if not platforms:
        return await upstream.head_manifest(image)
    document = await upstream.fetch_manifest(image)
    await check_platforms(upstream, image, document, platforms)
    return image.digest or document.digest
