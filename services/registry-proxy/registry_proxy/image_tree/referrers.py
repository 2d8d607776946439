"""Referrers of a token's image, such as signatures and SBOMs."""

from registry_proxy.image_tree.tree import Documents, ImageTree, Pull, Upstream
from registry_proxy.image_tree.walk import Walk, Walks
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX

NO_REFERRERS = Document(OCI_INDEX, b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % OCI_INDEX.encode())


class Referrers:
    """Reads the referrers of images. An augmented image has none: it has not been signed."""

    def __init__(self, upstream: Upstream, documents: Documents, tree: ImageTree, walks: Walks) -> None:
        self._upstream = upstream
        self._documents = documents
        self._tree = tree
        self._walks = walks

    async def index(self, pull: Pull, root: Document, digest: Digest) -> Document:
        """Return the index of the referrers of *digest*, and store it; *root* is the document of the token.

        Source: OCI distribution-spec, "Listing Referrers",
        https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
        """
        async with self._walks.begin(pull.image.registry) as walk:
            if digest not in await self._digests(pull, root, walk):
                return NO_REFERRERS
        index = await self._upstream.acting_for(pull.principal).fetch_referrers(pull.image.at(digest)) or NO_REFERRERS
        await self._documents.put_referrers(pull.token, digest, index, pull.expires)
        return index

    async def stored_entries(self, pull: Pull, root: Document, walk: Walk) -> list[Descriptor]:
        """Return the entries of all referrers that `index` has stored for the token."""
        if not pull.is_unchanged:
            return []
        indexes = await self._documents.referrers(pull.token, await self._digests(pull, root, walk))
        return [entry for index in indexes for entry in walk.entries(index)]

    async def _digests(self, pull: Pull, root: Document, walk: Walk) -> list[Digest]:
        """Return the digests of the token's image: the root first, then the entries of its indexes."""
        granted = [pull.image.digest] if pull.image.digest else []
        entries = [entry.digest async for index in self._tree.indexes(pull, root, walk) for entry in index.manifests]
        return [root.digest, *granted, *entries]
