"""Which blobs of a repository count as pushed by a build.

A blob that the repository has already counts only if buildkitd has it too, if the layer cache that the build has read
names and has it, or if it is mounted. BuildKit does not fetch the layers of a base image that no step needs, so the
registry of a base image could name a layer of another user's image, which would become part of this image without being
read.
Reasons: `docs/decisions/0021-pushed-blobs-are-proven.md`.
"""

from collections.abc import Awaitable, Callable, Iterable

import msgspec
from aiohttp import ClientResponse
from msgspec import Struct

from builder.buildkit.network.target_registry import TargetRegistry
from swell.errors import ManifestInvalid
from swell.oci.document import Document
from swell.oci.reference import Reference
from swell.oci.unambiguous import check_unambiguous


class Possession:
    """The blobs of one build.

    Layers of *bases*, images that the build reads, are mounted from there when they are in the same registry and
    *may_mount* allows it.
    """

    def __init__(
        self,
        registry: TargetRegistry,
        bases: Iterable[Reference],
        may_mount: Callable[[Reference], Awaitable[bool]] | None = None,
        begun: Callable[[Reference, ClientResponse], None] = lambda *_: None,
    ) -> None:
        """*begun* is called with the answer of a registry that begins an upload, because it does not mount."""
        self._registry = registry
        self._begun = begun
        self._bases = tuple(bases)
        self._may_mount = may_mount
        self._mountable: dict[str, bool] = {}
        self._cached: dict[tuple[str, str], Reference] = {}
        self.daemon_has: Callable[[str], bool] = lambda _digest: False
        """Whether buildkitd has all bytes of a digest."""

    def add_cached(self, target: Reference, manifest: bytes) -> None:
        """Add the blobs that *manifest*, which the build has read from its layer cache at *target*, names."""
        self._cached.update({(target.registry, digest): target for digest in _blobs_of(manifest)})

    async def may_reuse(self, target: Reference, digest: str) -> bool:
        """Whether the build may use the blob *digest* that the repository of *target* has.

        A layer cache may belong to a client, and not every registry checks that the repository of a manifest has the
        blobs that it names. So the repository of the cache is asked.
        """
        if self.daemon_has(digest):
            return True
        cache = self._cached.get((target.registry, digest))
        return cache is not None and await self._registry.has_blob(cache, digest)

    async def mount(self, target: Reference, digest: str) -> bool:
        """Mount *digest* from a base image in the registry of *target*; return whether one has it."""
        for base in self._bases:
            if base.registry != target.registry or base.repository == target.repository:
                continue
            if await self._is_mountable(base):
                response = await self._registry.start_upload(target, {"mount": digest, "from": base.repository})
                if response.status == 201:
                    return True
                if response.status == 202:
                    self._begun(target, response)
        return False

    async def _is_mountable(self, base: Reference) -> bool:
        if base.name not in self._mountable:
            self._mountable[base.name] = self._may_mount is not None and await self._may_mount(base)
        return self._mountable[base.name]


class _Named(Struct):
    digest: str


class _Blobs(Struct):
    """The blobs that a manifest, or BuildKit's older index of a layer cache, consists of; annotations do not count."""

    config: _Named | None = None
    layers: list[_Named] = []
    manifests: list[_Named] = []


def _blobs_of(manifest: bytes) -> list[str]:
    try:
        blobs = msgspec.json.decode(manifest, type=_Blobs)
        check_unambiguous(manifest, Document("", manifest).fields)  # else the registry has checked other blobs
    except (msgspec.MsgspecError, RecursionError, ManifestInvalid):
        return []
    return [each.digest for each in (*blobs.layers, *blobs.manifests, *filter(None, (blobs.config,)))]
