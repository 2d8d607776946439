"""Documents: manifests, indexes and configs as exact bytes, with views of their JSON.

Sources: OCI image-spec, manifest.md, image-index.md and config.md, https://github.com/opencontainers/image-spec;
distribution, "Image Manifest V 2, Schema 2", https://distribution.github.io/distribution/spec/manifest-v2-2/
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeGuard, TypeVar

import msgspec
from msgspec import Struct

from swell.errors import ManifestInvalid
from swell.json_size import has_more_values
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest, digest_of
from swell.oci.media_types import INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST
from swell.oci.unambiguous import check_unambiguous

View = TypeVar("View", bound=Struct)

MAX_VALUES = 100_000
"""An index with 10,000 entries has about 80,000. Nothing else runs while it is read, for hundredths of a second."""


class _Index(Struct):
    manifests: tuple[Descriptor, ...] | None  # Go writes an empty list as null


class _Manifest(Struct):
    config: Descriptor
    layers: tuple[Descriptor, ...] | None


class Document(Struct, frozen=True, dict=True):
    """A JSON document of an image: `digest` names `content`, `fields` reads it.

    `stale`: the tag pointed to it earlier, and the registry does not answer now. Reading any bytes returns a result or
    raises `ManifestInvalid`.
    """

    media_type: str
    content: bytes
    stale: bool = False

    def __repr__(self) -> str:
        return f"Document({self.media_type!r}, {self.digest})"

    @cached_property
    def digest(self) -> Digest:
        return digest_of(self.content)

    @property
    def size(self) -> int:
        return len(self.content)

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """The JSON object with its keys in order; shared, so do not modify it."""
        if has_more_values(self.content, MAX_VALUES):
            raise ManifestInvalid(f"The document has more than {MAX_VALUES} values")
        try:
            fields = msgspec.json.decode(self.content)
        except (ValueError, RecursionError) as error:
            raise ManifestInvalid(f"The document cannot be read as JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ManifestInvalid("The document is not a JSON object")
        return fields

    def changed(self, **fields: object) -> "Document":
        """Return another document with *fields* replaced or appended; unknown fields and the order of keys stay."""
        try:
            content = msgspec.json.encode({**self.fields, **fields})
        except RecursionError as error:
            raise ManifestInvalid("The document is nested too deeply") from error
        return Document(self.media_type, content)

    def read_as(self, view: type[View]) -> View:
        """Return the fields of *view*.

        Raises:
            ManifestInvalid: a field is missing or has another type.
        """
        try:
            return msgspec.convert(self.fields, view)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ManifestInvalid(f"The document is malformed: {error}") from error

    @cached_property
    def kind(self) -> str:
        """The media type without parameters: from the registry, or else from the document, or else by its structure."""
        declared = self.media_type.partition(";")[0].strip().lower()
        if _is_known(declared):
            return declared
        written = self.fields.get("mediaType")
        return written if _is_known(written) else _kind_by_structure(self.fields) or declared

    @property
    def contradicts(self) -> str | None:
        """The media type in the document, if it differs from that of the registry."""
        written = self.fields.get("mediaType")
        return str(written) if written is not None and written != self.kind else None

    @property
    def is_index(self) -> bool:
        return self.kind in INDEXES

    @property
    def is_manifest(self) -> bool:
        return self.kind in MANIFESTS

    @property
    def manifests(self) -> tuple[Descriptor, ...]:
        """The entries of an index."""
        return self.read_as(_Index).manifests or ()

    @property
    def config(self) -> Descriptor:
        """The descriptor of a manifest's config."""
        return self.read_as(_Manifest).config

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers of a manifest, lowest first."""
        return self.read_as(_Manifest).layers or ()


def detect(media_type: str | None, content: bytes) -> Document:
    """Return the document in an HTTP response; *media_type* is its `Content-Type`, which may be missing or too general.

    Raises:
        ManifestInvalid: it is not a JSON object, or an error body; or clients could see different images: it is both
            an index and a manifest (CVE-2021-41190), or has a member twice or in another case.
    """
    document = Document(media_type or "", content)
    fields, written = document.fields, document.fields.get("mediaType")
    types = {document.kind, written if _is_known(written) else document.kind}
    if types & INDEXES and types & MANIFESTS:
        raise ManifestInvalid(f"The document says that it is not of the type {document.kind} that the registry sent")
    if fields.get("manifests") is not None and (fields.get("layers") is not None or fields.get("config") is not None):
        raise ManifestInvalid("The document has the members of an index and those of a manifest")
    check_unambiguous(content, fields)
    if "errors" in fields and not (_is_known(document.kind) or "schemaVersion" in fields):
        raise ManifestInvalid("The registry sends an error where a manifest should be")
    return Document(document.kind, content)


def _is_known(media_type: object) -> TypeGuard[str]:
    return isinstance(media_type, str) and media_type in INDEXES | MANIFESTS


def _kind_by_structure(fields: Mapping[str, Any]) -> str | None:
    """Return the OCI type; documents of Docker always have a `mediaType`."""
    match "manifests" in fields, {"config", "layers"} <= fields.keys():
        case True, False:
            return OCI_INDEX
        case False, True:
            return OCI_MANIFEST
    return None
