"""Where the blobs of a token's image are."""

from msgspec import Struct

from registry_proxy.domain.link import Origin
from registry_proxy.image_tree.referrers import Referrers
from registry_proxy.image_tree.tree import Documents, ImageTree, Pull
from registry_proxy.image_tree.walk import Walks
from swell.errors import BlobUnknown, ImageUnsupported
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import BLOB_SCHEME, Reference, parse_blob_location


class Located(Struct, frozen=True):
    """A blob and its origin. `repository` is where the registry has it; its tag has no meaning."""

    origin: Origin
    descriptor: Descriptor
    repository: Reference


class BlobLocator:
    """Finds the origin of a blob, if it is part of a token's image."""

    def __init__(self, documents: Documents, tree: ImageTree, walks: Walks, referrers: Referrers) -> None:
        self._documents = documents
        self._tree = tree
        self._walks = walks
        self._referrers = referrers

    async def locate(self, pull: Pull, root: Document, digest: Digest) -> Located:
        """Locate the config or layer *digest* of the image whose document is *root*.

        Raises:
            BlobUnknown: no manifest of the token's image names it.
            ImageUnsupported: the image has a legacy format; only its manifest is served.
        """
        if not (root.is_index or root.is_manifest):
            raise ImageUnsupported(f"the blobs of {root.digest} are not served: its image format is not supported")
        async with self._walks.begin(pull.image.registry) as walk:
            async for manifest in self._tree.manifests(pull, root, walk):
                for descriptor in _blobs(manifest):
                    if descriptor.digest == digest:
                        return await self._origin(pull, descriptor)
            referrers = [entry.digest for entry in await self._referrers.stored_entries(pull, root, walk)]
            async for manifest in self._tree.stored(pull, referrers, walk):
                for descriptor in _blobs(manifest):
                    if descriptor.digest == digest:
                        return await self._created_or_upstream(pull, descriptor)
        raise BlobUnknown(f"{digest} is no part of {pull.image}")

    async def _origin(self, pull: Pull, descriptor: Descriptor) -> Located:
        for layer in pull.container_config.layers or ():
            if layer.gzip_digest == descriptor.digest:
                if layer.location.startswith(BLOB_SCHEME):
                    return Located(Origin.UPSTREAM, descriptor, parse_blob_location(layer.location))
                return Located(Origin.LAYER, descriptor, pull.image)
        return await self._created_or_upstream(pull, descriptor)

    async def _created_or_upstream(self, pull: Pull, descriptor: Descriptor) -> Located:
        if not pull.is_unchanged and await self._documents.has_created_config(pull.token, descriptor.digest):
            return Located(Origin.DOCUMENT, descriptor, pull.image)
        return Located(Origin.UPSTREAM, descriptor, pull.image)


def _blobs(document: Document) -> tuple[Descriptor, ...]:
    """Return the config and the layers of a manifest; no blobs for any other document."""
    return (document.config, *document.layers) if document.is_manifest else ()
