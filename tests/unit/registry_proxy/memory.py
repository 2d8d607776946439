"""The registry-proxy's dependencies, in memory."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path

from registry_proxy.domain.link import Link, Scope
from registry_proxy.image_tree.tree import Digests
from swell.api.containers import ContainerLayer
from swell.errors import DigestInvalid
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.registry.credentials.principal import PUBLIC, Principal
from swell.store.blobs import Blobs
from swell.store.objects import MemoryObjects


class MemoryDocuments:
    """The twin of RedisDocuments, which forgets nothing."""

    def __init__(self) -> None:
        self._roots: dict[str, Digest] = {}
        self._sources: dict[str, Digest] = {}
        self._manifests: dict[tuple[str, Digest], Document] = {}
        self._configs: dict[Digest, Document] = {}
        self._made: set[tuple[str, Digest]] = set()
        self._referrers: dict[tuple[str, Digest], Document] = {}

    async def root(self, token: str) -> Document | None:
        return self._manifests[token, self._roots[token]] if token in self._roots else None

    async def get(self, token: str, digest: Digest) -> Document | None:
        return self._manifests.get((token, digest))

    async def config(self, digest: Digest) -> Document | None:
        return self._configs.get(digest)

    async def has_created_config(self, token: str, digest: Digest) -> bool:
        return (token, digest) in self._made

    async def put_config(self, token: str, config: Document, expires: datetime) -> None:
        self._configs[config.digest] = config
        self._made.add((token, config.digest))

    async def find_stored(self, token: str, digests: Sequence[Digest]) -> set[Digest]:
        return {digest for digest in digests if (token, digest) in self._manifests}

    async def put(self, token: str, manifest: Document, expires: datetime) -> None:
        self._manifests[token, manifest.digest] = manifest

    async def put_child(self, token: str, digest: Digest, manifest: Document, expires: datetime) -> None:
        self._manifests[token, digest] = manifest

    async def put_referrers(self, token: str, digest: Digest, index: Document, expires: datetime) -> None:
        self._referrers[token, digest] = index

    async def referrers(self, token: str, digests: Sequence[Digest]) -> list[Document]:
        return [self._referrers[token, digest] for digest in digests if (token, digest) in self._referrers]

    async def remove(self, token: str) -> None:
        self._roots.pop(token, None)
        self._sources.pop(token, None)
        self._made = {key for key in self._made if key[0] != token}
        for kept in (self._manifests, self._referrers):
            for key in [key for key in kept if key[0] == token]:
                del kept[key]

    async def digests(self, token: str) -> Digests | None:
        return Digests(self._sources[token], self._roots[token]) if token in self._roots else None

    async def put_root(self, token: str, manifest: Document, source: Digest, expires: datetime) -> Document:
        self._sources.setdefault(token, source)
        await self.put(token, manifest, expires)
        return self._manifests[token, self._roots.setdefault(token, manifest.digest)]


class MemoryLayers:
    """Has every layer but those that a test sets as broken."""

    def __init__(self) -> None:
        self.ensured: list[ContainerLayer] = []
        self.broken: set[ContainerLayer] = set()

    async def ensure(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        if layer in self.broken:
            raise DigestInvalid(f"{layer.location} is not what it claims to be")
        self.ensured.append(layer)


class MemoryLeases:
    """The twin of RedisLeases, for replicas in one process."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        async with self._locks[key]:
            yield


class MemoryCache:
    """The twin of BlobCache; *claimed* are the blobs that another replica brings here."""

    def __init__(self) -> None:
        self._blobs = Blobs(MemoryObjects())
        self.claimed: set[Scope] = set()

    def for_registry(self, registry: str) -> Blobs:
        return self._blobs.below(registry)

    async def store(self, registry: str, digest: Digest, path: Path) -> None:
        await self.for_registry(registry).put_file(digest, path)

    async def lease(self, scope: Scope) -> AbstractAsyncContextManager[None] | None:
        return None if scope in self.claimed else self._claimed(scope)

    @asynccontextmanager
    async def _claimed(self, scope: Scope) -> AsyncIterator[None]:
        self.claimed.add(scope)
        yield
        self.claimed.remove(scope)


class MemoryProofs:
    """The twin of RedisProofs."""

    def __init__(self) -> None:
        self._proven: dict[str, float] = {}

    async def get(self, key: str) -> float | None:
        return self._proven.get(key)

    async def put(self, key: str, proven: float) -> None:
        self._proven[key] = proven

    async def drop(self, key: str) -> None:
        self._proven.pop(key, None)


class PublicStore:
    """The object store as clients reach it: has what is in `kept`."""

    def __init__(self) -> None:
        self.kept: dict[Digest, str] = {}

    async def in_store(self, link: Link) -> str | None:
        return self.kept.get(link.digest)
