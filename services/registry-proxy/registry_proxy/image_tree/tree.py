"""The documents that a token leads to: the root, the children of indexes, each made or fetched once and stored."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, Self

from msgspec import Struct

from registry_proxy.domain.augment import deeper
from registry_proxy.image_tree.walk import Walk
from swell.api.containers import ContainerConfig
from swell.concurrency.single_flight import SingleFlight
from swell.errors import ManifestUnknown
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import INDEXES
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.principal import PUBLIC, Principal

_NOTHING = ContainerConfig()


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


class Leases(Protocol):
    def take(self, key: str) -> AbstractAsyncContextManager[None]:
        """Wait until no replica is at work under *key*; then it is ours while the block runs."""


class Documents(Protocol):
    """The manifests of each token, and the configs that we made; kept at least until the token expires."""

    async def root(self, token: str) -> Document | None:
        """What the token's tag was resolved to."""

    async def get(self, token: str, digest: Digest) -> Document | None: ...

    async def has_created_config(self, token: str, digest: Digest) -> bool:
        """Whether the config under *digest* was made for this token."""

    async def put_config(self, token: str, config: Document, expires: datetime) -> None: ...

    async def known(self, token: str, digests: Sequence[Digest]) -> set[Digest]:
        """Those of *digests* that `get` is likely to find, asked in one go."""

    async def put(self, token: str, manifest: Document, expires: datetime) -> None:
        """Store *manifest*, which was made for *token*."""

    async def put_child(self, token: str, digest: Digest, manifest: Document, expires: datetime) -> None:
        """Store *manifest* under *digest*, which may be of another algorithm; the registry can show it again, so it
        may go before the token expires."""

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


class Tree:
    """Work for one document is done once for all who ask at the same time, in every replica, and is cancelled with the
    last of them."""

    def __init__(self, upstream: Upstream, documents: Documents, leases: Leases) -> None:
        self._upstream = upstream
        self._documents = documents
        self._leases = leases
        self._making: SingleFlight[str, Document] = SingleFlight(kept=False)

    async def once(
        self, key: str, look: Callable[[], Awaitable[Document | None]], make: Callable[[], Awaitable[Document]]
    ) -> Document:
        """What *look* finds, else what *make* makes."""
        return await look() or await self._making.run(key, lambda: self._alone(key, look, make))

    async def child(self, pull: Pull, digest: Digest) -> Document:
        """A manifest that an index of the image names: one of ours, else the registry's, stored for the next time."""
        return await self.once(
            f"{pull.token}:{digest}",
            lambda: self._documents.get(pull.token, digest),
            lambda: self._fetched(pull, digest),
        )

    async def indexes(self, pull: Pull, document: Document, walk: Walk, depth: int = 0) -> AsyncIterator[Document]:
        """*document* and the indexes below it, itself first."""
        if not document.is_index:
            return
        depth = deeper(depth)
        walk.enter(document)
        yield document
        for entry in document.manifests:
            if entry.media_type in INDEXES and (child := await self._walked(pull, entry.digest, walk)):
                async for nested in self.indexes(pull, child, walk, depth):
                    yield nested

    async def manifests(self, pull: Pull, document: Document, walk: Walk, depth: int = 0) -> AsyncIterator[Document]:
        """Every manifest that *document* leads to; those that this token has seen come first, they cost little."""
        if not document.is_index:
            yield document
            return
        depth = deeper(depth)
        walk.enter(document)
        entries = [entry.digest for entry in document.manifests]
        known = await self._documents.known(pull.token, entries)
        async for child in self.seen(pull, (digest for digest in entries if digest in known), walk):
            async for manifest in self.manifests(pull, child, walk, depth):
                yield manifest
        for digest in entries:
            if digest not in known and (found := await self._walked(pull, digest, walk)):
                async for manifest in self.manifests(pull, found, walk, depth):
                    yield manifest

    async def seen(self, pull: Pull, digests: Iterable[Digest], walk: Walk) -> AsyncIterator[Document]:
        """The documents under *digests* that are stored, one at a time."""
        for digest in digests:
            walk.check_caller()
            if found := await self._documents.get(pull.token, digest):
                yield walk.read(found)

    async def _walked(self, pull: Pull, digest: Digest, walk: Walk) -> Document | None:
        """A child on a walk; None where the registry does not have it, as mirrors of some platforms do not."""
        await walk.fetch()
        try:
            return walk.read(await self.child(pull, digest))
        except ManifestUnknown:
            return None

    async def _alone(
        self, key: str, look: Callable[[], Awaitable[Document | None]], make: Callable[[], Awaitable[Document]]
    ) -> Document:
        async with self._leases.take(key):
            return await look() or await make()

    async def _fetched(self, pull: Pull, digest: Digest) -> Document:
        child = await self._upstream.acting_for(pull.principal).fetch_manifest(pull.image.at(digest))
        await self._documents.put_child(pull.token, digest, child, pull.expires)
        return child
