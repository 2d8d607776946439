"""Serve the image of a token: resolve it once, and add the container config.

A token names one image for its whole life: the tag is resolved once, and the created documents are stored until the
token expires. A token gives access only to that image and its referrers, not to the rest of the repository.
"""

import asyncio
from typing import Protocol

from msgspec import structs

from registry_proxy.image_tree.attestation import Attestation, Sign
from registry_proxy.image_tree.augmentation import Augmentation
from registry_proxy.image_tree.blobs import BlobLocator, Located
from registry_proxy.image_tree.nesting import check_nesting
from registry_proxy.image_tree.referrers import Referrers
from registry_proxy.image_tree.tree import Digests, Documents, ImageTree, Leases, Pull, Upstream
from registry_proxy.image_tree.walk import Walks
from swell.api.containers import ContainerLayer
from swell.errors import DigestInvalid, ManifestUnknown
from swell.oci.digest import Digest, parse_digest
from swell.oci.document import Document
from swell.oci.reference import BLOB_SCHEME
from swell.oci.referrers_tag import parse_referrers_tag
from swell.registry.credentials.principal import PUBLIC, Principal


class Layers(Protocol):
    async def ensure(self, layer: ContainerLayer, principal: Principal) -> None:
        """Store and verify the layer's bytes; registries are read with the credentials of *principal*."""


class Pulls:
    """Answers the pulls of all tokens. With *sign*, augmented images are signed."""

    def __init__(
        self,
        upstream: Upstream,
        documents: Documents,
        layers: Layers,
        leases: Leases,
        walks: Walks | None = None,
        sign: Sign | None = None,
    ) -> None:
        self._upstream = upstream
        self._documents = documents
        self._layers = layers
        self._tree = ImageTree(upstream, documents, leases)
        self._walks = walks or Walks()
        attestation = Attestation(documents, sign)
        self._referrers = Referrers(upstream, documents, self._tree, self._walks, attestation)
        self._augmentation = Augmentation(upstream, documents)
        self._blobs = BlobLocator(documents, self._tree, self._walks, self._referrers)

    async def digests(self, token: str) -> Digests | None:
        """Return the digests of a token's image before and after adding the config; None before its first pull."""
        return await self._documents.digests(token)

    async def store_layer(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        """Store and verify *layer*."""
        await self._layers.ensure(layer, principal)

    async def manifest(self, pull: Pull, reference: str) -> Document:
        """Return the manifest or index under *reference*: a tag or a digest.

        It is the token's image, a part of it, a referrer that was returned before, or a tag of referrers:
        `sha256-<hex>`, perhaps with `.sig`, `.att` or `.sbom`.

        Raises:
            ManifestUnknown: *reference* is not part of the token's image.
        """
        root = await self._root(pull)
        tag = pull.image.served_tag(is_changed=not pull.is_unchanged)
        if reference in {tag, root.digest} or (reference == pull.image.digest and pull.is_unchanged):
            return root
        if referrers := parse_referrers_tag(reference):
            return await self._referrers.tagged(pull, root, referrers)
        try:
            digest = parse_digest(reference)
        except DigestInvalid as error:
            raise ManifestUnknown(f"the token opens {pull.image}, not the tag {reference[:128]}") from error
        async with self._walks.begin(pull.image.registry) as walk:
            async for index in self._tree.indexes(pull, root, walk):
                if any(entry.digest == digest for entry in index.manifests):
                    return await self._tree.child(pull, digest)
            if any(entry.digest == digest for entry in await self._referrers.stored_entries(pull, root, walk)):
                return await self._tree.child(pull, digest)
        raise ManifestUnknown(f"{digest} is no part of {pull.image}")

    async def referrers(self, pull: Pull, digest: Digest) -> Document:
        """Return the index of the referrers of *digest*, a part of the image or of its base; empty for others."""
        return await self._referrers.index(pull, await self._root(pull), digest)

    async def locate(self, pull: Pull, digest: Digest) -> Located:
        """Locate the config or layer *digest* of the image; raises `BlobUnknown` and `ImageUnsupported`."""
        return await self._blobs.locate(pull, await self._root(pull), digest)

    async def remove(self, token: str) -> None:
        """Remove the documents of *token*, which was revoked."""
        await self._documents.remove(token)

    async def _root(self, pull: Pull) -> Document:
        return await self._tree.get_or_create(
            pull.token, lambda: self._documents.root(pull.token), lambda: self._create_root(pull)
        )

    async def _create_root(self, pull: Pull) -> Document:
        added = [layer for layer in pull.container_config.layers or () if not layer.location.startswith(BLOB_SCHEME)]
        await asyncio.gather(*(self._layers.ensure(layer, pull.principal) for layer in added))
        upstream = self._upstream.acting_for(pull.principal)
        manifest = await self._fetch_root(upstream, pull)
        await check_nesting(upstream, pull.image, manifest)
        source, stale = manifest.digest, manifest.stale
        if not pull.container_config.is_empty:
            async with self._walks.begin(pull.image.registry) as walk:
                manifest = await self._augmentation.apply(pull, manifest, walk)
        root = await self._documents.put_root(pull.token, manifest, source, pull.expires)
        return structs.replace(root, stale=stale) if stale else root

    async def _fetch_root(self, upstream: Upstream, pull: Pull) -> Document:
        """Fetch the document of the token's image. The tag of a built image may have moved since it was last read."""
        if not pull.is_built:
            return await upstream.fetch_manifest(pull.image)
        digest, stale = await upstream.current_digest(pull.image)
        manifest = await upstream.fetch_manifest(pull.image.at(digest))
        return structs.replace(manifest, stale=True) if stale else manifest
