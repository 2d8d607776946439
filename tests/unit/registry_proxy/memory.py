"""The registry-proxy's neighbours, in memory."""

from datetime import datetime

from swell.api.containers import ContainerLayer
from swell.errors import DigestInvalid
from swell.oci.digest import Digest
from swell.oci.document import Document


class MemoryDocuments:
    """The twin of RedisDocuments, which forgets nothing."""

    def __init__(self) -> None:
        self._roots: dict[str, Digest] = {}
        self._manifests: dict[tuple[str, Digest], Document] = {}
        self._configs: dict[Digest, Document] = {}

    async def root(self, token: str) -> Document | None:
        return self._manifests[token, self._roots[token]] if token in self._roots else None

    async def get(self, token: str, digest: Digest) -> Document | None:
        return self._manifests.get((token, digest))

    async def config(self, digest: Digest) -> Document | None:
        return self._configs.get(digest)

    async def put_config(self, config: Document, expires: datetime) -> None:
        self._configs[config.digest] = config

    async def put(self, token: str, manifest: Document, expires: datetime) -> None:
        self._manifests[token, manifest.digest] = manifest

    async def put_root(self, token: str, manifest: Document, expires: datetime) -> Document:
        await self.put(token, manifest, expires)
        return self._manifests[token, self._roots.setdefault(token, manifest.digest)]


class MemoryLayers:
    """Has every layer but those that are told to be broken."""

    def __init__(self) -> None:
        self.ensured: list[ContainerLayer] = []
        self.broken: set[ContainerLayer] = set()

    async def ensure(self, layer: ContainerLayer) -> None:
        if layer in self.broken:
            raise DigestInvalid(f"{layer.location} is not what it claims to be")
        self.ensured.append(layer)
