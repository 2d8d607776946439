"""Pulling: what a token was granted, resolved once, with what was asked for added to it.

A token sees one image for all its life: the tag is read once, and what we made for the token is kept as long as the
token. Nothing else of the repository is reachable through it: only what hangs from that image.
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
from registry_proxy.image_tree.tree import Digests, Documents, Leases, Pull, Tree, Upstream
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
    """A blob and where its bytes are: of *repository*, a reference whose tag says nothing, when they are upstream."""

    origin: Origin
    descriptor: Descriptor
    repository: Reference


class Layers(Protocol):
    async def ensure(self, layer: ContainerLayer, principal: Principal) -> None:
        """See that the layer's bytes are in the store, and what they claim to be; *principal* reads those of images."""


class Pulls:
    def __init__(
        self, upstream: Upstream, documents: Documents, layers: Layers, leases: Leases, walks: Walks | None = None
    ) -> None:
        self._upstream = upstream
        self._documents = documents
        self._layers = layers
        self._tree = Tree(upstream, documents, leases)
        self._walks = walks or Walks()

    async def resolve(self, image: Reference, principal: Principal, platforms: Sequence[Platform] = ()) -> Digest:
        """The digest that *image* has now, as *principal* may read it.

        Raises:
            BadRequest: it is not made for one of *platforms*.
        """
        upstream = self._upstream.acting_for(principal)
        if not platforms:
            return await upstream.head_manifest(image)
        document = await upstream.fetch_manifest(image)
        await check_platforms(upstream, image, document, platforms)
        return image.digest or document.digest

    async def digests(self, token: str) -> Digests | None:
        """The digests of a token's image before and after the additions; None before its first pull."""
        return await self._documents.digests(token)

    async def keep(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        """Have *layer* in the store, verified."""
        await self._layers.ensure(layer, principal)

    async def manifest(self, pull: Pull, reference: str) -> Document:
        """The manifest or index under the granted tag or digest, or under a digest that it leads to; or one that
        refers to any of them, as `referrers` has told.

        Raises:
            ManifestUnknown: the token does not lead there.
        """
        root = await self._root(pull)
        if reference in {pull.image.tag, root.digest} or (reference == pull.image.digest and _is_unchanged(pull)):
            return root
        try:
            wanted = parse_digest(reference)
        except DigestInvalid as error:
            raise ManifestUnknown(f"the token opens {pull.image}, not the tag {reference[:128]}") from error
        async with self._walks.begin(pull.image.registry) as walk:
            async for index in self._tree.indexes(pull, root, walk):
                if any(entry.digest == wanted for entry in index.manifests):
                    return await self._tree.child(pull, wanted)
            if any(entry.digest == wanted for entry in await self._referring(pull, root, walk)):
                return await self._tree.child(pull, wanted)
        raise ManifestUnknown(f"{wanted} is no part of {pull.image}")

    async def referrers(self, pull: Pull, digest: Digest) -> Document:
        """An image index of what refers to *digest*: signatures, SBOMs.

        Empty where something was added, as nobody has signed that, and for whatever the token does not lead to. What it
        names can then be pulled through the token; what refers to that in turn cannot.
        """
        if not _is_unchanged(pull):
            return NO_REFERRERS
        root = await self._root(pull)
        async with self._walks.begin(pull.image.registry) as walk:
            if digest not in await self._digests(pull, root, walk):
                return NO_REFERRERS
        found = await self._for(pull).fetch_referrers(pull.image.at(digest)) or NO_REFERRERS
        await self._documents.put_referrers(pull.token, digest, found, pull.expires)
        return found

    async def forget(self, token: str) -> None:
        """Keep nothing of *token*, which was taken away."""
        await self._documents.forget(token)

    async def locate(self, pull: Pull, digest: Digest) -> Located:
        """Where the config or layer *digest* of the image is.

        Raises:
            BlobUnknown: no manifest that the token leads to names it.
            ImageUnsupported: the image is in a format of long ago, whose manifest is passed on and no more.
        """
        root = await self._root(pull)
        if not (root.is_index or root.is_manifest):
            raise ImageUnsupported(f"the blobs of {root.digest} are not served: it is no image of a current format")
        async with self._walks.begin(pull.image.registry) as walk:
            async for manifest in self._tree.manifests(pull, root, walk):
                for descriptor in _blobs(manifest):
                    if descriptor.digest == digest:
                        return await self._located(pull, descriptor)
            referring = [entry.digest for entry in await self._referring(pull, root, walk)]
            async for manifest in self._tree.seen(pull, referring, walk):
                for descriptor in _blobs(manifest):
                    if descriptor.digest == digest:
                        return Located(Origin.UPSTREAM, descriptor, pull.image)
        raise BlobUnknown(f"{digest} is no part of {pull.image}")

    def _for(self, pull: Pull) -> Upstream:
        return self._upstream.acting_for(pull.principal)

    async def _located(self, pull: Pull, descriptor: Descriptor) -> Located:
        for layer in pull.container_config.layers or ():
            if layer.gzip_digest == descriptor.digest:
                if layer.location.startswith(BLOB_SCHEME):
                    return Located(Origin.UPSTREAM, descriptor, parse_blob_location(layer.location))
                return Located(Origin.LAYER, descriptor, pull.image)
        if not _is_unchanged(pull) and await self._documents.has_created_config(pull.token, descriptor.digest):
            return Located(Origin.DOCUMENT, descriptor, pull.image)
        return Located(Origin.UPSTREAM, descriptor, pull.image)

    async def _root(self, pull: Pull) -> Document:
        return await self._tree.once(pull.token, lambda: self._documents.root(pull.token), lambda: self._resolved(pull))

    async def _resolved(self, pull: Pull) -> Document:
        added = [layer for layer in pull.container_config.layers or () if not layer.location.startswith(BLOB_SCHEME)]
        await asyncio.gather(*(self._layers.ensure(layer, pull.principal) for layer in added))
        manifest = await self._for(pull).fetch_manifest(pull.image)
        await check_nesting(self._for(pull), pull.image, manifest)
        source, stale = manifest.digest, manifest.stale
        if not pull.container_config.is_empty:
            async with self._walks.begin(pull.image.registry) as walk:
                manifest = await self._augmented(pull, manifest, walk)
        root = await self._documents.put_root(pull.token, manifest, source, pull.expires)
        return structs.replace(root, stale=stale) if stale else root

    async def _augmented(self, pull: Pull, document: Document, walk: Walk, depth: int = 0) -> Document:
        """*document* with what was asked for added; all that it leads to and that we made is kept."""
        check_type(document)
        if document.is_index:
            made = augment_index(document, await self._replaced(pull, document, walk, deeper(depth)))
        else:
            check_manifest(document)
            await walk.fetch()
            config = walk.read(await self._for(pull).fetch_config(pull.image, document.config))
            image = augment(Image(document, config), pull.container_config)
            await self._documents.put_config(pull.token, image.config, pull.expires)
            made = image.manifest
        await self._documents.put(pull.token, made, pull.expires)
        return made

    async def _replaced(self, pull: Pull, index: Document, walk: Walk, depth: int) -> dict[Digest, Document]:
        """What becomes of the entries of *index*; where they are indexes, one that has a platform is enough."""
        replaced, missing = {}, None
        for entry in choose(index, pull.platforms):
            await walk.fetch()
            child = walk.read(await self._for(pull).fetch_manifest(pull.image.at(entry.digest)))
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
        """See that *manifest*, of whose platform its index tells nothing, is an image for one that was asked for."""
        if manifest.config.media_type not in CONFIGS:
            raise ManifestUnknown(f"{manifest.digest} is no container image")
        await walk.fetch()
        check_platform(walk.read(await self._for(pull).fetch_config(pull.image, manifest.config)), pull.platforms)

    async def _digests(self, pull: Pull, root: Document, walk: Walk) -> list[Digest]:
        """What the token leads to, the image itself first."""
        granted = [pull.image.digest] if pull.image.digest else []
        entries = [entry.digest async for index in self._tree.indexes(pull, root, walk) for entry in index.manifests]
        return [root.digest, *granted, *entries]

    async def _referring(self, pull: Pull, root: Document, walk: Walk) -> list[Descriptor]:
        """What refers to the image or to what it leads to, as far as it was asked for."""
        if not _is_unchanged(pull):
            return []
        found = await self._documents.referrers(pull.token, await self._digests(pull, root, walk))
        return [entry for index in found for entry in walk.entries(index)]


def _is_unchanged(pull: Pull) -> bool:
    return pull.container_config.is_empty


def _blobs(document: Document) -> tuple[Descriptor, ...]:
    """The config and the layers of a manifest; nothing of what is none."""
    return (document.config, *document.layers) if document.is_manifest else ()
