"""A pull as it is counted: when, for what machine, by whose people, and whether Fusion came along."""

import re
from typing import NamedTuple

from gateway.domain.grant import Grant
from swell.api.containers import ContainerConfig
from swell.errors import ManifestInvalid
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.platform import canonical_architecture

_FUSION = re.compile(r"/fusion-\w+\.tar\.gz\Z")
_COUNTED = ("amd64", "arm64", "arm")
_OTHER = "other"  # an index may name what it likes; what we count by is bounded
_MOST = 50_000


class CountedPull(NamedTuple):
    """One image manifest on *day* (UTC, 2026-11-23)."""

    day: str
    architecture: str
    organisation: str
    fusion: bool


class Architectures:
    """For which architecture each image is, as told by the indexes that went by: a manifest itself does not tell."""

    def __init__(self) -> None:
        self._known: dict[Digest, str] = {}

    def learn(self, index: Document) -> None:
        if index.digest not in self._known:
            if len(self._known) > _MOST:
                self._known.clear()
            self._known |= {index.digest: _OTHER} | architectures(index)

    def of(self, manifest: Document, grant: Grant) -> str:
        """That of *manifest*; if no index has told, the first that *grant* was given for."""
        return self._known.get(manifest.digest) or grant.platforms[0].split("/")[1]


def architectures(index: Document) -> dict[Digest, str]:
    """The architecture of each entry; of none if *index* cannot be read, which is for others to complain about."""
    try:
        return {entry.digest: _architecture(entry) for entry in index.manifests}
    except ManifestInvalid:
        return {}


def _architecture(entry: Descriptor) -> str:
    told = canonical_architecture(str((entry.platform or {}).get("architecture")))
    return told if told in _COUNTED else _OTHER


def has_fusion(config: ContainerConfig | None) -> bool:
    """Whether one of *config*'s layers is Fusion, on whatever host: `…/fusion-<architecture>.tar.gz`."""
    return any(_FUSION.search(layer.location) for layer in config.layers or ()) if config else False
