"""Resolve an image that a request names to its current digest."""

from collections.abc import Sequence

from registry_proxy.image_tree.completeness import check_complete
from registry_proxy.image_tree.platforms import check_platforms
from registry_proxy.image_tree.tree import Upstream
from swell.errors import BlobUnknown
from swell.oci.digest import Digest
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal


class ImageResolver:
    """Reads the digests of images, each as a principal."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def resolve(
        self, image: Reference, principal: Principal, platforms: Sequence[Platform] = (), *, complete: bool = False
    ) -> Digest:
        """Return the current digest of *image*; it may have been cached for some seconds.

        Raises:
            BadRequest: the image lacks one of *platforms*.
            ManifestUnknown: it does not exist, or *complete* is set and the registry lacks a part of it.
        """
        upstream = self._upstream.acting_for(principal)
        if complete:
            return await check_complete(upstream, image)
        if not platforms:
            return await upstream.head_manifest(image)
        document = await upstream.fetch_manifest(image)
        await check_platforms(upstream, image, document, platforms)
        return image.digest or document.digest

    async def resolve_now(self, image: Reference, principal: Principal) -> Digest:
        """Return the digest that the registry reports for *image* at this moment; no cached one."""
        return await self._upstream.acting_for(principal).head_manifest_now(image)

    async def resolve_blob(self, blob: Reference, principal: Principal) -> Digest:
        """Return the digest in *blob*, if the registry shows that blob of the repository to *principal*.

        Raises:
            BlobUnknown, Denied: it does not, or *blob* has no digest.
        """
        if blob.digest is None:
            raise BlobUnknown
        await self._upstream.acting_for(principal).head_blob(blob, blob.digest)
        return blob.digest
