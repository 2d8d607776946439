"""BuildKit's provenance, taken out of a push.

With the option `attest:provenance`, BuildKit pushes an index with two manifests: the image, and the provenance. The
push gateway stores the provenance instead, and gives the tag to the image, as if there had been no attestation.
Source: BuildKit, "Image Attestation Storage",
https://github.com/moby/buildkit/blob/v0.34.2/docs/attestations/attestation-storage.md
"""

from typing import Any

import msgspec
from msgspec import Struct

from swell.oci.digest import Digest, digest_of

PROVENANCE = "attest:provenance"
"""The option of a build that makes it."""
MAX_BLOB = 8 << 20
"""Bytes of a provenance statement. BuildKit's are some kilobytes for each step."""
MAX_MANIFESTS = 8

STATEMENT = "application/vnd.in-toto+json"
"""The media type of the provenance."""
_STATEMENT_TYPE = "https://in-toto.io/Statement/"
EMPTY_CONFIG_DIGEST = digest_of(b"{}")
"""The config of the manifest with the provenance; the config of an image is never empty."""
_REFERENCE_TYPE = "vnd.docker.reference.type"


class _Descriptor(Struct):
    digest: str = ""
    annotations: dict[str, str] = {}


class _Index(Struct):
    manifests: list[_Descriptor] = []


class _Statement(Struct, rename={"kind": "_type"}):
    kind: str = ""
    predicate: dict[str, Any] | None = None


class Attestation:
    """The documents of one push with provenance."""

    def __init__(self) -> None:
        self._manifests: dict[str, tuple[str, bytes]] = {}
        self.predicate: dict[str, Any] | None = None
        """The predicate of SLSA provenance, once it has been pushed."""
        self.digest: Digest | None = None
        """The digest of the image's manifest, once it has been pushed."""

    def takes_blob(self, content: bytes) -> bool:
        """Store *content* if it belongs to the provenance; return whether it does."""
        statement = _decoded(content, _Statement)
        if statement is None or not statement.kind.startswith(_STATEMENT_TYPE):
            return False
        self.predicate = statement.predicate
        return True

    def takes_manifest(self, media_type: str, content: bytes) -> None:
        """Store a manifest that is pushed by its digest; the registry gets the image's with its tag."""
        if len(self._manifests) < MAX_MANIFESTS:
            self._manifests[digest_of(content)] = media_type, content

    def image(self, media_type: str, content: bytes) -> tuple[str, bytes]:
        """Return the media type and content of the manifest for the tag for which *content* is pushed."""
        index = _decoded(content, _Index)
        images = [each for each in (index.manifests if index else ()) if _REFERENCE_TYPE not in each.annotations]
        if len(images) == 1:
            media_type, content = self._manifests.get(images[0].digest, (media_type, content))
        self.digest = digest_of(content)
        return media_type, content


def _decoded(content: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError:
        return None
