"""Pulling: what a token was granted, resolved once, with what was asked for added to it.

A token sees one image for all its life: the tag is read once, and what we made for the token is kept as long as the
token. Nothing else of the repository is reachable through it: only what hangs from that image.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from msgspec import Struct, structs

from registry_proxy.domain.augment import augment, augment_index, choose
from registry_proxy.domain.link import Origin
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import BlobUnknown, DigestInvalid, ManifestUnknown
from swell.flights import Flights
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest, parse_digest
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import INDEXES
from swell.oci.platform import Platform
from swell.oci.reference import BLOB_SCHEME, Reference, parse_blob_location

_NOTHING = ContainerConfig()


class Pull(Struct, frozen=True):
    """What a token opens, and until when."""

    token: str
    image: Reference
    platform: Platform
    expires: datetime
    container_config: ContainerConfig = _NOTHING


class Located(Struct, frozen=True):
    """A blob and where its bytes are: of *repository*, a reference whose tag says nothing, when they are upstream."""

    origin: Origin
    descriptor: Descriptor
    repository: Reference


class Digests(Struct, frozen=True):
    """An image's digest in its registry, and with what was asked for added."""

    source: Digest
    wave: Digest


class Upstream(Protocol):
    async def head_manifest(self, reference: Reference) -> Digest: ...

    async def fetch_manifest(self, reference: Reference) -> Document: ...

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document: ...


class Layers(Protocol):
    async def ensure(self, layer: ContainerLayer) -> None:
        """See that the layer's bytes are in the store, and what they claim to be."""


class Documents(Protocol):
    """The manifests of each token, and the configs that we made; kept at least until the token expires."""

    async def root(self, token: str) -> Document | None:
        """What the token's tag was resolved to."""

    async def get(self, token: str, digest: Digest) -> Document | None: ...

    async def made_config(self, token: str, digest: Digest) -> bool:
        """Whether the config under *digest* was made for this token."""

    async def put_config(self, token: str, config: Document, expires: datetime) -> None: ...

    async def put(self, token: str, manifest: Document, expires: datetime) -> None: ...

    async def put_root(self, token: str, manifest: Document, source: Digest, expires: datetime) -> Document:
        """Pin *manifest*, made of *source*, unless another one is pinned already; answers the pinned one."""

    async def digests(self, token: str) -> Digests | None:
        """What was pinned."""


class Pulls:
    def __init__(self, upstream: Upstream, documents: Documents, layers: Layers) -> None:
        self._upstream = upstream
        self._documents = documents
        self._layers = layers
        self._resolving: Flights[str, Document] = Flights()

    async def resolve(self, image: Reference) -> Digest:
        """The digest that *image* has now."""
        return await self._upstream.head_manifest(image)

    async def digests(self, token: str) -> Digests | None:
        """The digests of a token's image before and after the additions; None before its first pull."""
        return await self._documents.digests(token)

    async def keep(self, layer: ContainerLayer) -> None:
        """Have *layer* in the store, verified."""
        await self._layers.ensure(layer)

    async def manifest(self, pull: Pull, reference: str) -> Document:
        """The manifest or index under the granted tag or digest, or under a digest that it leads to.

        Raises:
            ManifestUnknown: the token does not lead there.
        """
        root = await self._root(pull)
        if reference in {pull.image.reference, root.digest}:
            return root
        try:
            wanted = parse_digest(reference)
        except DigestInvalid as error:
            raise ManifestUnknown(f"the token opens {pull.image}, not the tag {reference[:128]}") from error
        async for index in self._indexes(pull, root):
            if any(entry.digest == wanted for entry in index.manifests):
                return await self._child(pull, wanted)
        raise ManifestUnknown(f"{wanted} is no part of {pull.image}")

    async def locate(self, pull: Pull, digest: Digest) -> Located:
        """Where the config or layer *digest* of the image is.

        Raises:
            BlobUnknown: no manifest that the token leads to names it.
        """
        root = await self._root(pull)
        async for manifest in self._manifests(pull, root):
            for descriptor in (manifest.config, *manifest.layers):
                if descriptor.digest == digest:
                    return await self._located(pull, descriptor)
        raise BlobUnknown(f"{digest} is no part of {pull.image}")

    async def _located(self, pull: Pull, descriptor: Descriptor) -> Located:
        for layer in pull.container_config.layers or ():
            if layer.gzip_digest == descriptor.digest:
                if layer.location.startswith(BLOB_SCHEME):
                    return Located(Origin.UPSTREAM, descriptor, parse_blob_location(layer.location))
                return Located(Origin.LAYER, descriptor, pull.image)
        if await self._documents.made_config(pull.token, descriptor.digest):
            return Located(Origin.DOCUMENT, descriptor, pull.image)
        return Located(Origin.UPSTREAM, descriptor, pull.image)

    async def _root(self, pull: Pull) -> Document:
        if pinned := await self._documents.root(pull.token):
            return pinned
        return await self._resolving.join(pull.token, lambda: self._resolved(pull))

    async def _resolved(self, pull: Pull) -> Document:
        added = [layer for layer in pull.container_config.layers or () if not layer.location.startswith(BLOB_SCHEME)]
        await asyncio.gather(*(self._layers.ensure(layer) for layer in added))
        manifest = await self._upstream.fetch_manifest(pull.image)
        source, stale = manifest.digest, manifest.stale
        if not pull.container_config.is_empty:
            manifest = await self._augmented(pull, manifest)
        root = await self._documents.put_root(pull.token, manifest, source, pull.expires)
        return structs.replace(root, stale=stale) if stale else root

    async def _augmented(self, pull: Pull, document: Document) -> Document:
        """*document* with what was asked for added; all that it leads to and that we made is kept."""
        if document.is_index:
            made = augment_index(document, await self._replaced(pull, document))
        else:
            config = await self._upstream.fetch_config(pull.image, document.config)
            image = augment(Image(document, config), pull.container_config)
            await self._documents.put_config(pull.token, image.config, pull.expires)
            made = image.manifest
        await self._documents.put(pull.token, made, pull.expires)
        return made

    async def _replaced(self, pull: Pull, index: Document) -> dict[Digest, Document]:
        """What becomes of the entries of *index*; where they are indexes, one that has the platform is enough."""
        replaced, missing = {}, None
        for entry in choose(index, pull.platform):
            child = await self._upstream.fetch_manifest(pull.image.at(entry.digest))
            try:
                replaced[entry.digest] = await self._augmented(pull, child)
            except ManifestUnknown as error:
                missing = error
        if missing and not replaced:
            raise missing
        return replaced

    async def _child(self, pull: Pull, digest: Digest) -> Document:
        """A manifest that an index of the image names: one of ours, else the upstream's, kept for the next time."""
        if known := await self._documents.get(pull.token, digest):
            return known
        child = await self._upstream.fetch_manifest(pull.image.at(digest))
        await self._documents.put(pull.token, child, pull.expires)
        return child

    async def _indexes(self, pull: Pull, document: Document) -> AsyncIterator[Document]:
        """*document* and the indexes below it, itself first."""
        if document.is_index:
            yield document
            for entry in document.manifests:
                if entry.media_type in INDEXES:
                    async for nested in self._indexes(pull, await self._child(pull, entry.digest)):
                        yield nested

    async def _manifests(self, pull: Pull, document: Document) -> AsyncIterator[Document]:
        """Every manifest that *document* leads to; those that this token has seen come first, they cost nothing."""
        if not document.is_index:
            yield document
            return
        seen = [(entry, await self._documents.get(pull.token, entry.digest)) for entry in document.manifests]
        for _, child in seen:
            if child:
                async for manifest in self._manifests(pull, child):
                    yield manifest
        for entry, child in seen:
            if child is None:
                async for manifest in self._manifests(pull, await self._child(pull, entry.digest)):
                    yield manifest
