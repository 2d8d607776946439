"""The documents of a token: its root and the children of its indexes, each created or fetched once and stored."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, Self

from msgspec import Struct

from registry_proxy.domain.index import deeper
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
from swell.registry.credentials.principal import PUBLIC, Principal

_NOTHING = ContainerConfig()


class Pull(Struct, frozen=True):
    """The image of a token, and the container config to add for each of `platforms` that the image has.

    `expires` is when the token expires. Registries are read with the credentials of `principal`.
    """

    token: str
    image: Reference
    platforms: tuple[Platform, ...]
    expires: datetime
    container_config: ContainerConfig = _NOTHING
    principal: Principal = PUBLIC
    is_built: bool = False
    """A build of this server makes the image, so that its tag may have moved a moment ago."""

    @property
    def is_unchanged(self) -> bool:
        """Whether the image is served as its registry has it."""
        return self.container_config.is_empty


class Digests(Struct, frozen=True):
    """An image's digest in its registry (`source`), and after adding the container config (`wave`)."""

    source: Digest
    wave: Digest


class Upstream(Protocol):
    def acting_for(self, principal: Principal) -> Self: ...

    async def current_digest(self, reference: Reference) -> tuple[Digest, bool]:
        """Return the digest that the registry has now, and whether it is stale: known from before an outage."""

    async def head_manifest(self, reference: Reference) -> Digest: ...

    async def head_manifest_now(self, reference: Reference) -> Digest:
        """Return the digest of *reference*, which is not from a cache."""

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None:
        """Check that the registry has a blob in the repository of *reference*; raises `BlobUnknown`."""

    async def fetch_manifest(self, reference: Reference) -> Document: ...

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document: ...

    async def fetch_referrers(self, reference: Reference) -> Document | None:
        """Return the index of the referrers of *reference*, which has a digest; None if it has no referrers."""


class Leases(Protocol):
    def hold(self, key: str) -> AbstractAsyncContextManager[None]:
        """Wait until no replica holds the lease of *key*, and hold it while the block runs."""


class Documents(Protocol):
    """The manifests of each token and the created configs, stored at least until the token expires."""

    async def root(self, token: str) -> Document | None:
        """Return the document that the token's tag resolved to."""

    async def get(self, token: str, digest: Digest) -> Document | None: ...

    async def has_created_config(self, token: str, digest: Digest) -> bool:
        """Return whether the config under *digest* was created for this token."""

    async def put_config(self, token: str, config: Document, expires: datetime) -> None: ...

    async def find_stored(self, token: str, digests: Sequence[Digest]) -> set[Digest]:
        """Return those of *digests* that `get` is likely to find, with one request."""

    async def put(self, token: str, manifest: Document, expires: datetime) -> None:
        """Store *manifest*, which was created for *token*."""

    async def put_child(self, token: str, digest: Digest, manifest: Document, expires: datetime) -> None:
        """Store *manifest* under *digest*, which may use another algorithm.

        It may expire before the token: the registry can serve it again.
        """

    async def put_referrers(self, token: str, digest: Digest, index: Document, expires: datetime) -> None:
        """Store the index of the referrers of *digest*, replacing the previous one."""

    async def referrers(self, token: str, digests: Sequence[Digest]) -> list[Document]:
        """Return the stored indexes of the referrers of *digests*."""

    async def remove(self, token: str) -> None:
        """Remove the documents of *token*."""

    async def put_root(self, token: str, manifest: Document, source: Digest, expires: datetime) -> Document:
        """Pin *manifest*, created from *source*, unless one is already pinned; return the pinned one."""

    async def digests(self, token: str) -> Digests | None:
        """Return the digests of the pinned root; None before the first pull."""


class ImageTree:
    """Reads the documents below a token's root.

    Concurrent callers, in all replicas, share the work for one document. It is cancelled with its last caller.
    """

    def __init__(self, upstream: Upstream, documents: Documents, leases: Leases) -> None:
        self._upstream = upstream
        self._documents = documents
        self._leases = leases
        self._single_flight: SingleFlight[str, Document] = SingleFlight(kept=False)

    async def get_or_create(
        self, key: str, get: Callable[[], Awaitable[Document | None]], create: Callable[[], Awaitable[Document]]
    ) -> Document:
        """Return the document that *get* finds, else the one that *create* returns."""
        return await get() or await self._single_flight.run(key, lambda: self._create_once(key, get, create))

    async def child(self, pull: Pull, digest: Digest) -> Document:
        """Return a manifest that an index of the image names: a created one, or the registry's, which it stores."""
        return await self.get_or_create(
            f"{pull.token}:{digest}",
            lambda: self._documents.get(pull.token, digest),
            lambda: self._fetch_child(pull, digest),
        )

    async def indexes(self, pull: Pull, document: Document, walk: Walk, depth: int = 0) -> AsyncIterator[Document]:
        """Yield *document* if it is an index, and then the indexes below it."""
        if not document.is_index:
            return
        depth = deeper(depth)
        walk.enter(document)
        yield document
        for entry in document.manifests:
            if entry.media_type in INDEXES and (child := await self._walk_to(pull, entry.digest, walk)):
                async for nested in self.indexes(pull, child, walk, depth):
                    yield nested

    async def manifests(self, pull: Pull, document: Document, walk: Walk, depth: int = 0) -> AsyncIterator[Document]:
        """Yield every manifest below *document*; stored ones first, because they need no request."""
        if not document.is_index:
            yield document
            return
        depth = deeper(depth)
        walk.enter(document)
        entries = [entry.digest for entry in document.manifests]
        stored = await self._documents.find_stored(pull.token, entries)
        async for known in self.stored(pull, (digest for digest in entries if digest in stored), walk):
            async for manifest in self.manifests(pull, known, walk, depth):
                yield manifest
        for digest in entries:
            if digest not in stored and (child := await self._walk_to(pull, digest, walk)):
                async for manifest in self.manifests(pull, child, walk, depth):
                    yield manifest

    async def stored(self, pull: Pull, digests: Iterable[Digest], walk: Walk) -> AsyncIterator[Document]:
        """Yield the documents under *digests* that are stored."""
        for digest in digests:
            walk.check_caller()
            if document := await self._documents.get(pull.token, digest):
                yield walk.read(document)

    async def _walk_to(self, pull: Pull, digest: Digest, walk: Walk) -> Document | None:
        """Return a child; None if the registry does not have it, as a mirror that has only some platforms."""
        try:
            return await walk.fetch(self.child, pull, digest)
        except ManifestUnknown:
            return None

    async def _create_once(
        self, key: str, get: Callable[[], Awaitable[Document | None]], create: Callable[[], Awaitable[Document]]
    ) -> Document:
        async with self._leases.hold(key):
            return await get() or await create()

    async def _fetch_child(self, pull: Pull, digest: Digest) -> Document:
        child = await self._upstream.acting_for(pull.principal).fetch_manifest(pull.image.at(digest))
        await self._documents.put_child(pull.token, digest, child, pull.expires)
        return child
