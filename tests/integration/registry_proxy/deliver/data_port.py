"""The data port in tests: replicas in front of a registry."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from msgspec import Struct, structs
from yarl import URL

from registry_proxy.adapters.blob_cache import BlobCache
from registry_proxy.adapters.spool import Spool
from registry_proxy.domain.link import Link, Origin, sign
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_CONFIG, OCI_LAYER
from swell.store.blobs import Blobs
from tests.integration.registry_proxy.support import Script, eventually

KEY = b"k" * 32
CONTENT = bytes(range(256)) * 8192 * 2  # 4 MiB
CONFIG = Document(OCI_CONFIG, b'{"os":"linux"}')


class Configs:
    async def config(self, digest: Digest) -> Document | None:
        return CONFIG if digest == CONFIG.digest else None


class Port(Struct, frozen=True):
    """The data port, and a registry that it reads from."""

    url: URL
    script: Script
    layers: Blobs
    cache: BlobCache
    spool: Path
    files: Spool

    def link(self, content: bytes = CONTENT, origin: Origin = Origin.UPSTREAM, **changes: object) -> Link:
        link = Link(
            origin, self.script.authority, "a/b", digest_of(content), len(content), OCI_LAYER, int(time.time()) + 600
        )
        return structs.replace(link, **changes)

    def url_of(self, link: Link) -> URL:
        return self.url.with_path(sign(link, KEY))

    async def cached(self, link: Link) -> int | None:
        """The size of the blob in the cache, if it is there."""
        return await self.cache.for_registry(link.registry).size(link.digest)

    def path_upstream(self, link: Link) -> str:
        return f"/v2/{link.repository}/blobs/{link.digest}"


NewPort = Callable[..., AbstractAsyncContextManager[Port]]


async def kept(port: Port, link: Link) -> None:
    """Wait until the blob is in S3, which is after its last client has got it."""

    async def is_kept() -> bool:
        return await port.cached(link) == link.size

    await eventually(is_kept)
