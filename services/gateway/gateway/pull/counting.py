"""What is counted of a pull: the day, the architecture, the organisation, the size, and whether Fusion was added."""

import re
from typing import NamedTuple

import msgspec
from msgspec import Struct

from gateway.domain.grant import Grant
from swell.api.containers import ContainerConfig
from swell.errors import ManifestInvalid
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.platform import canonical_architecture

_FUSION = re.compile(r"/fusion-\w+\.tar\.gz\Z")
_COUNTED = ("amd64", "arm64", "arm")
_OTHER = "other"  # an index may contain any name; the names that are counted are a fixed set
_MAX_CACHED = 50_000
MOST_BYTES = 64 << 30
"""Of one image: a manifest may name any sizes, and the sum of all pulls must stay a number of 64 bits."""


class CountedPull(NamedTuple):
    """One image manifest, pulled on *day* (UTC, 2026-11-23)."""

    day: str
    architecture: str
    organisation: str
    fusion: bool


class _Part(Struct):
    size: int


class _Sizes(Struct):
    config: _Part
    layers: tuple[_Part, ...] | None = None


class Sizes:
    """The bytes of the config and the layers of each image manifest, as the manifest says; 0 for a malformed one."""

    def __init__(self) -> None:
        self._by_digest: dict[Digest, int] = {}

    def of(self, manifest: Document) -> int:
        if (size := self._by_digest.get(manifest.digest)) is None:
            if len(self._by_digest) > _MAX_CACHED:
                self._by_digest.clear()
            size = self._by_digest[manifest.digest] = content_size(manifest.content)
        return size


def content_size(manifest: bytes) -> int:
    """The bytes of the config and the layers of *manifest*, at most `MOST_BYTES`; 0 if it cannot be read."""
    try:
        sizes = msgspec.json.decode(manifest, type=_Sizes)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return 0
    total = sum(max(part.size, 0) for part in (sizes.config, *(sizes.layers or ())))
    return min(total, MOST_BYTES)


class Architectures:
    """The architecture of each image manifest, as read from the indexes that were served before.

    A manifest itself does not contain its architecture.
    """

    def __init__(self) -> None:
        self._by_digest: dict[Digest, str] = {}

    def learn(self, index: Document) -> None:
        if index.digest not in self._by_digest:
            if len(self._by_digest) > _MAX_CACHED:
                self._by_digest.clear()
            self._by_digest |= {index.digest: _OTHER} | architectures(index)

    def of(self, manifest: Document, grant: Grant) -> str:
        """The architecture of *manifest*; if no index with it was served, the first platform of *grant*."""
        return self._by_digest.get(manifest.digest) or grant.platforms[0].split("/")[1]


def architectures(index: Document) -> dict[Digest, str]:
    """The architecture of each entry of *index*; empty for a malformed index, which is not an error here."""
    try:
        return {entry.digest: _architecture(entry) for entry in index.manifests}
    except ManifestInvalid:
        return {}


def _architecture(entry: Descriptor) -> str:
    name = canonical_architecture(str((entry.platform or {}).get("architecture")))
    return name if name in _COUNTED else _OTHER


def has_fusion(config: ContainerConfig | None) -> bool:
    """Whether *config* adds a layer of Fusion: a location that ends in `/fusion-<architecture>.tar.gz`, on any host."""
    return any(_FUSION.search(layer.location) for layer in config.layers or ()) if config else False
