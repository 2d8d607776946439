"""Pulling: what a token was granted, resolved once, with what was asked for added to it.

A token sees one image for all its life: the tag is read once, and what we made for the token is kept as long as the
token. Nothing else of the repository is reachable through it: only what hangs from that image.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, Self

from msgspec import Struct, structs

from registry_proxy.domain.augment import augment, augment_index, check_manifest, check_platform, choose, deeper
from registry_proxy.domain.link import Origin
from registry_proxy.platforms import check_platforms
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import BlobUnknown, DigestInvalid, ImageUnsupported, ManifestUnknown
from swell.flights import Flights
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest, parse_digest
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import CONFIGS, INDEXES, OCI_INDEX
from swell.oci.platform import Platform
from swell.oci.reference import BLOB_SCHEME, Reference, parse_blob_location
from swell.registry.principal import PUBLIC, Principal

_NOTHING = ContainerConfig()
NO_REFERRERS = Document(OCI_INDEX, b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % OCI_INDEX.encode())


class Pull(Struct, frozen=True):
    """What a token opens, and until when; what is added is added for `platforms`, wherever the image has them.

    Registries are read with the credentials of `principal`.
    """

    token: str
    image: Reference
    platforms: tuple[Platform, ...]
    expires: datetime
    container_config: ContainerConfig = _NOTHING
    principal: Principal = PUBLIC


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
    def acting_for(self, principal: Principal) -> Self: ...

    async def head_manifest(self, reference: Reference) -> Digest: ...

    async def fetch_manifest(self, reference: Reference) -> Document: ...

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document: ...

    async def fetch_referrers(self, reference: Reference) -> Document | None:
        """The index of what refers to *reference*, a digest, in its repository; None when there is none."""


class Layers(Protocol):
    async def ensure(self, layer: ContainerLayer, principal: Principal) -> None:
        """See that the layer's bytes are in the store, and what they claim to be; *principal* reads those of images."""


class Turns(Protocol):
    def take(self, key: str) -> AbstractAsyncContextManager[None]:
        """Wait until no replica is at work under *key*; then it is ours while the block runs."""


class Documents(Protocol):
    """The manifests of each token, and the configs that we made; kept at least until the token expires."""

    async def root(self, token: str) -> Document | None:
        """What the token's tag was resolved to."""

    async def get(self, token: str, digest: Digest) -> Document | None: ...

    async def made_config(self, token: str, digest: Digest) -> bool:
        """Whether the config under *digest* was made for this token."""

    async def put_config(self, token: str, config: Document, expires: datetime) -> None: ...

    async def put(self, token: str, manifest: Document, expires: datetime, *, under: Digest | None = None) -> None:
        """Keep *manifest* under its digest, or *under* its digest of another algorithm."""

    async def put_referrers(self, token: str, digest: Digest, index: Document, expires: datetime) -> None:
        """Keep what refers to *digest*, in place of what did before."""

    async def referrers(self, token: str, digests: Sequence[Digest]) -> list[Document]:
        """What was found to refer to any of *digests*."""

    async def forget(self, token: str) -> None:
        """Keep nothing of *token* any longer."""

    async def put_root(self, token: str, manifest: Document, source: Digest, expires: datetime) -> Document:
        """Pin *manifest*, made of *source*, unless another one is pinned already; answers the pinned one."""

    async def digests(self, token: str) -> Digests | None:
        """What was pinned."""


class Pulls:
    def __init__(self, upstream: Upstream, documents: Documents, layers: Layers, turns: Turns) -> None:
        self._upstream = upstream
        self._documents = documents
        self._layers = layers
        self._turns = turns
        self._making: Flights[str, Document] = Flights()

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
        async for index in self._indexes(pull, root):
            if any(entry.digest == wanted for entry in index.manifests):
                return await self._child(pull, wanted)
        if any(entry.digest == wanted for entry in await self._referring(pull, root)):
            return await self._child(pull, wanted)
        raise ManifestUnknown(f"{wanted} is no part of {pull.image}")

    async def referrers(self, pull: Pull, digest: Digest) -> Document:
        """An image index of what refers to *digest*: signatures, SBOMs.

        Empty where something was added, as nobody has signed that, and for whatever the token does not lead to. What it
        names can then be pulled through the token; what refers to that in turn cannot.
        """
        if not _is_unchanged(pull) or digest not in await self._digests(pull, await self._root(pull)):
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
        async for manifest in self._manifests(pull, root):
            for descriptor in _blobs(manifest):
                if descriptor.digest == digest:
                    return await self._located(pull, descriptor)
        for entry in await self._referring(pull, root):
            told = await self._documents.get(pull.token, entry.digest)
            for descriptor in _blobs(told) if told else ():
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
        if not _is_unchanged(pull) and await self._documents.made_config(pull.token, descriptor.digest):
            return Located(Origin.DOCUMENT, descriptor, pull.image)
        return Located(Origin.UPSTREAM, descriptor, pull.image)

    async def _root(self, pull: Pull) -> Document:
        return await self._once(pull.token, lambda: self._documents.root(pull.token), lambda: self._resolved(pull))

    async def _once(
        self, key: str, look: Callable[[], Awaitable[Document | None]], make: Callable[[], Awaitable[Document]]
    ) -> Document:
        """What *look* finds, else what *make* makes: once for all who want it at the same time, in every replica."""
        return await look() or await self._making.join(key, lambda: self._in_turn(key, look, make))

    async def _in_turn(
        self, key: str, look: Callable[[], Awaitable[Document | None]], make: Callable[[], Awaitable[Document]]
    ) -> Document:
        async with self._turns.take(key):
            return await look() or await make()

    async def _resolved(self, pull: Pull) -> Document:
        added = [layer for layer in pull.container_config.layers or () if not layer.location.startswith(BLOB_SCHEME)]
        await asyncio.gather(*(self._layers.ensure(layer, pull.principal) for layer in added))
        manifest = await self._for(pull).fetch_manifest(pull.image)
        source, stale = manifest.digest, manifest.stale
        if not pull.container_config.is_empty:
            manifest = await self._augmented(pull, manifest)
        root = await self._documents.put_root(pull.token, manifest, source, pull.expires)
        return structs.replace(root, stale=stale) if stale else root

    async def _augmented(self, pull: Pull, document: Document, depth: int = 0) -> Document:
        """*document* with what was asked for added; all that it leads to and that we made is kept."""
        if document.is_index:
            made = augment_index(document, await self._replaced(pull, document, deeper(depth)))
        else:
            check_manifest(document)
            config = await self._for(pull).fetch_config(pull.image, document.config)
            image = augment(Image(document, config), pull.container_config)
            await self._documents.put_config(pull.token, image.config, pull.expires)
            made = image.manifest
        await self._documents.put(pull.token, made, pull.expires)
        return made

    async def _replaced(self, pull: Pull, index: Document, depth: int) -> dict[Digest, Document]:
        """What becomes of the entries of *index*; where they are indexes, one that has a platform is enough."""
        replaced, missing = {}, None
        for entry in choose(index, pull.platforms):
            child = await self._for(pull).fetch_manifest(pull.image.at(entry.digest))
            try:
                if not (entry.platform or child.is_index):
                    await self._check_platform(pull, child)
                replaced[entry.digest] = await self._augmented(pull, child, depth)
            except ManifestUnknown as error:
                missing = error
        if missing and not replaced:
            raise missing
        return replaced

    async def _check_platform(self, pull: Pull, manifest: Document) -> None:
        """See that *manifest*, of whose platform its index tells nothing, is an image for one that was asked for."""
        if manifest.config.media_type not in CONFIGS:
            raise ManifestUnknown(f"{manifest.digest} is no container image")
        check_platform(await self._for(pull).fetch_config(pull.image, manifest.config), pull.platforms)

    async def _child(self, pull: Pull, digest: Digest) -> Document:
        """A manifest that an index of the image names: one of ours, else the upstream's, kept for the next time."""
        return await self._once(
            f"{pull.token}:{digest}",
            lambda: self._documents.get(pull.token, digest),
            lambda: self._fetched(pull, digest),
        )

    async def _child_or_none(self, pull: Pull, digest: Digest) -> Document | None:
        """As `_child`; None where the registry does not have it, as mirrors of some platforms do not."""
        try:
            return await self._child(pull, digest)
        except ManifestUnknown:
            return None

    async def _fetched(self, pull: Pull, digest: Digest) -> Document:
        child = await self._for(pull).fetch_manifest(pull.image.at(digest))
        await self._documents.put(pull.token, child, pull.expires, under=digest)
        return child

    async def _digests(self, pull: Pull, root: Document) -> list[Digest]:
        """What the token leads to, the image itself first."""
        granted = [pull.image.digest] if pull.image.digest else []
        entries = [entry.digest async for index in self._indexes(pull, root) for entry in index.manifests]
        return [root.digest, *granted, *entries]

    async def _referring(self, pull: Pull, root: Document) -> list[Descriptor]:
        """What refers to the image or to what it leads to, as far as it was asked for."""
        if not _is_unchanged(pull):
            return []
        told = await self._documents.referrers(pull.token, await self._digests(pull, root))
        return [entry for index in told for entry in index.manifests]

    async def _indexes(self, pull: Pull, document: Document, depth: int = 0) -> AsyncIterator[Document]:
        """*document* and the indexes below it, itself first."""
        if document.is_index:
            depth = deeper(depth)
            yield document
            for entry in document.manifests:
                if entry.media_type in INDEXES and (child := await self._child_or_none(pull, entry.digest)):
                    async for nested in self._indexes(pull, child, depth):
                        yield nested

    async def _manifests(self, pull: Pull, document: Document, depth: int = 0) -> AsyncIterator[Document]:
        """Every manifest that *document* leads to; those that this token has seen come first, they cost nothing."""
        if not document.is_index:
            yield document
            return
        depth = deeper(depth)
        seen = [(entry, await self._documents.get(pull.token, entry.digest)) for entry in document.manifests]
        for _, child in seen:
            if child:
                async for manifest in self._manifests(pull, child, depth):
                    yield manifest
        for entry, child in seen:
            if child is None and (found := await self._child_or_none(pull, entry.digest)):
                async for manifest in self._manifests(pull, found, depth):
                    yield manifest


def _is_unchanged(pull: Pull) -> bool:
    return pull.container_config.is_empty


def _blobs(document: Document) -> tuple[Descriptor, ...]:
    """The config and the layers of a manifest; nothing of what is none."""
    return (document.config, *document.layers) if document.is_manifest else ()
