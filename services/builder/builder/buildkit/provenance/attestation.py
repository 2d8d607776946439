"""BuildKit's provenance, taken out of a push.

With the option `attest:provenance`, BuildKit pushes an index with two manifests: the image, and the provenance. The
push gateway stores the provenance instead, and gives the tag to the image, as if there had been no attestation.
Source: BuildKit, "Image Attestation Storage",
https://github.com/moby/buildkit/blob/v0.34.2/docs/attestations/attestation-storage.md
"""

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from swell.oci.digest import Digest, digest_of

T = TypeVar("T")

PROVENANCE = "attest:provenance"
"""The option of a build that makes it."""
MAX_BLOB = 8 << 20
"""Bytes of a provenance statement. BuildKit's are some kilobytes for each step."""
MAX_DOCUMENTS = 8
"""Manifests of a push, and statements."""

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


class _Manifest(Struct):
    layers: list[_Descriptor] = []


class _Statement(Struct, rename={"kind": "_type"}):
    kind: str = ""
    predicate: dict[str, Any] | None = None


class Attestation:
    """The documents of one push with provenance.

    A layer of a base image can have any bytes, also those of a statement. Only the statement that the index of the push
    refers to is the provenance.
    """

    def __init__(self) -> None:
        self._manifests: dict[str, tuple[str, bytes]] = {}
        self._statements: dict[str, bytes] = {}
        self.predicate: dict[str, Any] | None = None
        """The predicate of SLSA provenance, once the tag has been pushed."""
        self.digest: Digest | None = None
        """The digest of the image's manifest, once it has been pushed."""

    def takes_blob(self, content: bytes) -> bool:
        """Store *content* if it is a statement; return whether it is."""
        statement = _decoded(content, _Statement)
        if statement is None or not statement.kind.startswith(_STATEMENT_TYPE):
            return False
        if len(self._statements) < MAX_DOCUMENTS:
            self._statements[digest_of(content)] = content
        return True

    def takes_manifest(self, media_type: str, content: bytes) -> None:
        """Store a manifest that is pushed by its digest; the registry gets the image's with its tag."""
        if len(self._manifests) < MAX_DOCUMENTS:
            self._manifests[digest_of(content)] = media_type, content

    def image(self, media_type: str, content: bytes) -> tuple[str, bytes]:
        """Return the media type and content of the manifest for the tag for which *content* is pushed."""
        index = _decoded(content, _Index) or _Index()
        images = [each for each in index.manifests if _REFERENCE_TYPE not in each.annotations]
        self.predicate = self._predicate_of(index)
        if len(images) == 1:
            media_type, content = self._manifests.get(images[0].digest, (media_type, content))
        self.digest = digest_of(content)
        return media_type, content

    def _predicate_of(self, index: _Index) -> dict[str, Any] | None:
        """Return the predicate of the statement that the manifests for provenance of *index* name."""
        proofs = [each.digest for each in index.manifests if _REFERENCE_TYPE in each.annotations]
        manifests = [_decoded(self._manifests[each][1], _Manifest) for each in proofs if each in self._manifests]
        digests = [layer.digest for manifest in manifests if manifest for layer in manifest.layers]
        statements = (_decoded(self._statements[each], _Statement) for each in digests if each in self._statements)
        return next((each.predicate for each in statements if each), None)


def _decoded(content: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError):  # RecursionError: it is nested too deeply
        return None
