"""Referrers of a token's image, such as signatures and SBOMs."""

from registry_proxy.image_tree.tree import Documents, ImageTree, Pull, Upstream
from registry_proxy.image_tree.walk import Walk, Walks
from swell.errors import ManifestUnknown
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX
from swell.oci.referrers_tag import COSIGN_SUFFIXES, ReferrersTag

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

        It is empty for digests outside the token's image. The token can then pull the referrers, such as signatures and
        SBOMs, but not the referrers of referrers.

        Source: OCI distribution-spec, "Listing Referrers",
        https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
        """
        async with self._walks.begin(pull.image.registry) as walk:
            if digest not in await self._digests(pull, root, walk):
                return NO_REFERRERS
        index = await self._upstream.acting_for(pull.principal).fetch_referrers(pull.image.at(digest)) or NO_REFERRERS
        await self._documents.put_referrers(pull.token, digest, index, pull.expires)
        return index

    async def tagged(self, pull: Pull, root: Document, tag: ReferrersTag) -> Document:
        """Return the index or the referrer under *tag*, and let the token read what it names.

        Raises:
            ManifestUnknown: it is no tag of a part of the token's image, or the registry does not have it.
        """
        unknown = ManifestUnknown(f"the token opens {pull.image}, which has no referrers under {tag}")
        if not pull.is_unchanged:
            raise unknown
        if not tag.suffix:
            index = await self.index(pull, root, tag.subject)
            if not index.manifests:
                raise unknown
            return index
        async with self._walks.begin(pull.image.registry) as walk:
            if tag.subject not in await self._digests(pull, root, walk):
                raise unknown
        document = await self._upstream.acting_for(pull.principal).fetch_manifest(pull.image.at(str(tag)))
        entry = {"mediaType": document.media_type, "digest": document.digest, "size": document.size}
        await self._documents.put_referrers(pull.token, tag.key, NO_REFERRERS.changed(manifests=[entry]), pull.expires)
        return document

    async def stored_entries(self, pull: Pull, root: Document, walk: Walk) -> list[Descriptor]:
        """Return the entries of all referrers that `index` and `tagged` have stored for the token."""
        if not pull.is_unchanged:
            return []
        digests = await self._digests(pull, root, walk)
        tags = [ReferrersTag(digest, suffix).key for digest in digests for suffix in COSIGN_SUFFIXES]
        indexes = await self._documents.referrers(pull.token, [*digests, *tags])
        return [entry for index in indexes for entry in walk.entries(index)]

    async def _digests(self, pull: Pull, root: Document, walk: Walk) -> list[Digest]:
        """Return the digests of the token's image: the root first, then the entries of its indexes."""
        granted = [pull.image.digest] if pull.image.digest else []
        entries = [entry.digest async for index in self._tree.indexes(pull, root, walk) for entry in index.manifests]
        return [root.digest, *granted, *entries]
