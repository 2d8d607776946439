"""Referrers of a token's image, such as signatures and SBOMs."""

from msgspec import Struct, structs

from registry_proxy.image_tree.attestation import Attestation
from registry_proxy.image_tree.tree import Documents, ImageTree, Pull, Upstream
from registry_proxy.image_tree.walk import Walk, Walks
from swell.api.containers import ContainerConfig
from swell.errors import ManifestUnknown
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX
from swell.oci.referrers_tag import COSIGN_SUFFIXES, ReferrersTag

NO_REFERRERS = Document(OCI_INDEX, b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % OCI_INDEX.encode())


class _Subjects(Struct, frozen=True):
    """Digests that the registry may have referrers of, and those that the token has changed; `base` is the root's."""

    base: Digest
    upstream: tuple[Digest, ...]
    augmented: tuple[Digest, ...] = ()


class Referrers:
    """Reads the referrers of images. Those of an augmented image are made by this server.

    The referrers of its base, such as signatures, are readable through its token as well, under the base's digests.
    """

    def __init__(
        self, upstream: Upstream, documents: Documents, tree: ImageTree, walks: Walks, attestation: Attestation
    ) -> None:
        self._upstream = upstream
        self._documents = documents
        self._tree = tree
        self._walks = walks
        self._attestation = attestation

    async def index(self, pull: Pull, root: Document, digest: Digest) -> Document:
        """Return the index of the referrers of *digest*, and store it; *root* is the document of the token.

        It is empty for digests outside the token's image. The token can then pull the referrers, such as signatures and
        SBOMs, but not the referrers of referrers.

        Source: OCI distribution-spec, "Listing Referrers",
        https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
        """
        async with self._walks.begin(pull.image.registry) as walk:
            subjects = await self._subjects(pull, root, walk)
            if digest in subjects.augmented:
                augmented = root if digest == root.digest else await self._tree.child(pull, digest)
                return await self._attestation.index(pull, augmented, subjects.base)
            if digest not in subjects.upstream:
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
        if not tag.suffix:
            index = await self.index(pull, root, tag.subject)
            if not index.manifests:
                raise unknown
            return index
        async with self._walks.begin(pull.image.registry) as walk:
            if tag.subject not in (await self._subjects(pull, root, walk)).upstream:
                raise unknown
        document = await self._upstream.acting_for(pull.principal).fetch_manifest(pull.image.at(str(tag)))
        entry = {"mediaType": document.media_type, "digest": document.digest, "size": document.size}
        await self._documents.put_referrers(pull.token, tag.key, NO_REFERRERS.changed(manifests=[entry]), pull.expires)
        return document

    async def stored_entries(self, pull: Pull, root: Document, walk: Walk) -> list[Descriptor]:
        """Return the entries of all referrers that `index` and `tagged` have stored for the token."""
        subjects = await self._subjects(pull, root, walk)
        tags = [ReferrersTag(digest, suffix).key for digest in subjects.upstream for suffix in COSIGN_SUFFIXES]
        indexes = await self._documents.referrers(pull.token, [*subjects.upstream, *subjects.augmented, *tags])
        return [entry for index in indexes for entry in walk.entries(index)]

    async def _subjects(self, pull: Pull, root: Document, walk: Walk) -> _Subjects:
        """Return what may have referrers; the root first."""
        if pull.is_unchanged:
            granted = [pull.image.digest] if pull.image.digest else []
            below = await self._below(pull, root, walk)
            return _Subjects(root.digest, (root.digest, *granted, *below))
        digests = await self._documents.digests(pull.token)
        source = digests.source if digests else root.digest
        unchanged = structs.replace(pull, container_config=ContainerConfig())
        base = await walk.fetch(self._upstream.acting_for(pull.principal).fetch_manifest, pull.image.at(source))
        upstream = [source, *await self._below(unchanged, base, walk)]
        changed = [root.digest, *await self._below(pull, root, walk)]
        return _Subjects(source, tuple(upstream), tuple(each for each in changed if each not in upstream))

    async def _below(self, pull: Pull, root: Document, walk: Walk) -> list[Digest]:
        """Return the digests of the entries of *root* and of the indexes below it."""
        return [entry.digest async for index in self._tree.indexes(pull, root, walk) for entry in index.manifests]
