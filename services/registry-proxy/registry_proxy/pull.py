"""Serve the image of a token: resolve it once, and add the container config.

A token names one image for its whole life: the tag is resolved once, and the created documents are stored until the
token expires. A token gives access only to that image and its referrers, not to the rest of the repository.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct, structs

from registry_proxy.domain.augment import (
    augment,
    augment_index,
    check_manifest,
    check_platform,
    check_type,
    choose,
    deeper,
)
from registry_proxy.domain.link import Origin
from registry_proxy.image_tree.nesting import check_nesting
from registry_proxy.image_tree.platforms import check_platforms
from registry_proxy.image_tree.tree import Digests, Documents, ImageTree, Leases, Pull, Upstream
from registry_proxy.image_tree.walk import Walk, Walks
from swell.api.containers import ContainerLayer
from swell.errors import BlobUnknown, DigestInvalid, ImageUnsupported, ManifestUnknown
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest, parse_digest
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import CONFIGS, OCI_INDEX
from swell.oci.platform import Platform
from swell.oci.reference import BLOB_SCHEME, Reference, parse_blob_location
from swell.registry.principal import PUBLIC, Principal

NO_REFERRERS = Document(OCI_INDEX, b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % OCI_INDEX.encode())


class Located(Struct, frozen=True):
    """A blob and its origin. `repository` is where the registry has it; its tag has no meaning."""

    origin: Origin
    descriptor: Descriptor
    repository: Reference


class Layers(Protocol):
    async def ensure(self, layer: ContainerLayer, principal: Principal) -> None:
        """Store and verify the layer's bytes; registries are read with the credentials of *principal*."""


class Pulls:
    """Answers the pulls of all tokens."""

    def __init__(
        self, upstream: Upstream, documents: Documents, layers: Layers, leases: Leases, walks: Walks | None = None
    ) -> None:
        self._upstream = upstream
        self._documents = documents
        self._layers = layers
        self._tree = ImageTree(upstream, documents, leases)
        self._walks = walks or Walks()

    async def resolve(self, image: Reference, principal: Principal, platforms: Sequence[Platform] = ()) -> Digest:
        """Return the current digest of *image*, read with the credentials of *principal*.

        Raises:
            BadRequest: the image lacks one of *platforms*.
        """
        upstream = self._upstream.acting_for(principal)
        if not platforms:
            return await upstream.head_manifest(image)
        document = await upstream.fetch_manifest(image)
        await check_platforms(upstream, image, document, platforms)
        return image.digest or document.digest

    async def digests(self, token: str) -> Digests | None:
        """Return the digests of a token's image before and after adding the config; None before its first pull."""
        return await self._documents.digests(token)

    async def store_layer(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        """Store and verify *layer*."""
        await self._layers.ensure(layer, principal)

    async def manifest(self, pull: Pull, reference: str) -> Document:
        """Return the manifest or index under *reference*: a tag or a digest.

        It is the token's image, a part of it, or a referrer that `referrers` has returned before.

        Raises:
            ManifestUnknown: *reference* is not part of the token's image.
        """
        root = await self._root(pull)
        if reference in {pull.image.tag, root.digest} or (reference == pull.image.digest and _is_unchanged(pull)):
            return root
        try:
            digest = parse_digest(reference)
        except DigestInvalid as error:
            raise ManifestUnknown(f"the token opens {pull.image}, not the tag {reference[:128]}") from error
        async with self._walks.begin(pull.image.registry) as walk:
            async for index in self._tree.indexes(pull, root, walk):
                if any(entry.digest == digest for entry in index.manifests):
                    return await self._tree.child(pull, digest)
            if any(entry.digest == digest for entry in await self._referrers(pull, root, walk)):
                return await self._tree.child(pull, digest)
        raise ManifestUnknown(f"{digest} is no part of {pull.image}")

    async def referrers(self, pull: Pull, digest: Digest) -> Document:
        """Return the index of the referrers of *digest*, such as signatures and SBOMs.

        It is empty for augmented images, which have no signatures, and for digests outside the token's image. The
        token can then pull the referrers, but not the referrers of referrers.

        Source: OCI distribution-spec, "Listing Referrers",
        https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
        """
        if not _is_unchanged(pull):
            return NO_REFERRERS
        root = await self._root(pull)
        async with self._walks.begin(pull.image.registry) as walk:
            if digest not in await self._digests(pull, root, walk):
                return NO_REFERRERS
        index = await self._upstream_for(pull).fetch_referrers(pull.image.at(digest)) or NO_REFERRERS
        await self._documents.put_referrers(pull.token, digest, index, pull.expires)
        return index

    async def remove(self, token: str) -> None:
        """Remove the documents of *token*, which was revoked."""
        await self._documents.remove(token)

    async def locate(self, pull: Pull, digest: Digest) -> Located:
        """Locate the config or layer *digest* of the image.

        Raises:
            BlobUnknown: no manifest of the token's image names it.
            ImageUnsupported: the image has a legacy format; only its manifest is served.
        """
        root = await self._root(pull)
        if not (root.is_index or root.is_manifest):
            raise ImageUnsupported(f"the blobs of {root.digest} are not served: its image format is not supported")
        async with self._walks.begin(pull.image.registry) as walk:
            async for manifest in self._tree.manifests(pull, root, walk):
                for descriptor in _blobs(manifest):
                    if descriptor.digest == digest:
                        return await self._locate(pull, descriptor)
            referrers = [entry.digest for entry in await self._referrers(pull, root, walk)]
            async for manifest in self._tree.stored(pull, referrers, walk):
                for descriptor in _blobs(manifest):
                    if descriptor.digest == digest:
                        return Located(Origin.UPSTREAM, descriptor, pull.image)
        raise BlobUnknown(f"{digest} is no part of {pull.image}")

    def _upstream_for(self, pull: Pull) -> Upstream:
        return self._upstream.acting_for(pull.principal)

    async def _locate(self, pull: Pull, descriptor: Descriptor) -> Located:
        for layer in pull.container_config.layers or ():
            if layer.gzip_digest == descriptor.digest:
                if layer.location.startswith(BLOB_SCHEME):
                    return Located(Origin.UPSTREAM, descriptor, parse_blob_location(layer.location))
                return Located(Origin.LAYER, descriptor, pull.image)
        if not _is_unchanged(pull) and await self._documents.has_created_config(pull.token, descriptor.digest):
            return Located(Origin.DOCUMENT, descriptor, pull.image)
        return Located(Origin.UPSTREAM, descriptor, pull.image)

    async def _root(self, pull: Pull) -> Document:
        return await self._tree.get_or_create(
            pull.token, lambda: self._documents.root(pull.token), lambda: self._create_root(pull)
        )

    async def _create_root(self, pull: Pull) -> Document:
        added = [layer for layer in pull.container_config.layers or () if not layer.location.startswith(BLOB_SCHEME)]
        await asyncio.gather(*(self._layers.ensure(layer, pull.principal) for layer in added))
        manifest = await self._upstream_for(pull).fetch_manifest(pull.image)
        await check_nesting(self._upstream_for(pull), pull.image, manifest)
        source, stale = manifest.digest, manifest.stale
        if not pull.container_config.is_empty:
            async with self._walks.begin(pull.image.registry) as walk:
                manifest = await self._augmented(pull, manifest, walk)
        root = await self._documents.put_root(pull.token, manifest, source, pull.expires)
        return structs.replace(root, stale=stale) if stale else root

    async def _augmented(self, pull: Pull, document: Document, walk: Walk, depth: int = 0) -> Document:
        """Return *document* with the container config added, and store every document that this creates."""
        check_type(document)
        if document.is_index:
            augmented = augment_index(document, await self._replaced(pull, document, walk, deeper(depth)))
        else:
            check_manifest(document)
            await walk.fetch()
            config = walk.read(await self._upstream_for(pull).fetch_config(pull.image, document.config))
            image = augment(Image(document, config), pull.container_config)
            await self._documents.put_config(pull.token, image.config, pull.expires)
            augmented = image.manifest
        await self._documents.put(pull.token, augmented, pull.expires)
        return augmented

    async def _replaced(self, pull: Pull, index: Document, walk: Walk, depth: int) -> dict[Digest, Document]:
        """Return the augmented entries of *index* by their old digests; at least one must have a requested platform."""
        replaced, missing = {}, None
        for entry in choose(index, pull.platforms):
            await walk.fetch()
            child = walk.read(await self._upstream_for(pull).fetch_manifest(pull.image.at(entry.digest)))
            try:
                if not (entry.platform or child.is_index):
                    await self._check_platform(pull, child, walk)
                replaced[entry.digest] = await self._augmented(pull, child, walk, depth)
            except ManifestUnknown as error:
                missing = error
        if missing and not replaced:
            raise missing
        return replaced

    async def _check_platform(self, pull: Pull, manifest: Document, walk: Walk) -> None:
        """Check the platform of *manifest* in its config; its index does not give one."""
        if manifest.config.media_type not in CONFIGS:
            raise ManifestUnknown(f"{manifest.digest} is no container image")
        await walk.fetch()
        check_platform(
            walk.read(await self._upstream_for(pull).fetch_config(pull.image, manifest.config)), pull.platforms
        )

    async def _digests(self, pull: Pull, root: Document, walk: Walk) -> list[Digest]:
        """Return the digests of the token's image: the root first, then the entries of its indexes."""
        granted = [pull.image.digest] if pull.image.digest else []
        entries = [entry.digest async for index in self._tree.indexes(pull, root, walk) for entry in index.manifests]
        return [root.digest, *granted, *entries]

    async def _referrers(self, pull: Pull, root: Document, walk: Walk) -> list[Descriptor]:
        """Return the entries of all referrers that `referrers` has stored for the token."""
        if not _is_unchanged(pull):
            return []
        indexes = await self._documents.referrers(pull.token, await self._digests(pull, root, walk))
        return [entry for index in indexes for entry in walk.entries(index)]


def _is_unchanged(pull: Pull) -> bool:
    return pull.container_config.is_empty


def _blobs(document: Document) -> tuple[Descriptor, ...]:
    """Return the config and the layers of a manifest; no blobs for any other document."""
    return (document.config, *document.layers) if document.is_manifest else ()
