"""Statements about images, and the manifests that attach them; this module needs no keys.

Sources: in-toto, "Statement", https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md; sigstore, "Bundle
format", https://docs.sigstore.dev/about/bundle/
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from swell.oci.digest import Digest, digest_of, hex_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_MANIFEST

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
EMPTY_TYPE, EMPTY = "application/vnd.oci.empty.v1+json", b"{}"

SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document/v2.3"
"""Types of predicates: a signature says nothing but that the image was signed."""


class Subject(Struct, frozen=True):
    """What is attested: the manifest with *digest*, pushed as *name*."""

    name: str
    digest: Digest


class Unsigned(Struct, frozen=True):
    """A statement to sign: *content* says that something with *predicate_type* is true for *digest*.

    *stored* is the bundle of an earlier attempt, if there is one.
    """

    content: bytes
    digest: Digest
    predicate_type: str
    stored: bytes | None = None


def encode_statement(subject: Subject, predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """Return the statement that *predicate* is true for *subject*, as JSON with sorted keys."""
    algorithm = subject.digest.partition(":")[0]
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": subject.name, "digest": {algorithm: hex_of(subject.digest)}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return msgspec.json.encode(statement, order="sorted")


def attachment(bundle: bytes, predicate_type: str, image: Document) -> Document:
    """Return the manifest that attaches *bundle* to *image*; its blobs are *bundle* and `EMPTY`."""
    annotations = {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": predicate_type,
    }
    return _attached(bundle, BUNDLE, annotations, image)


def unsigned_attachment(statement: bytes, predicate_type: str, image: Document) -> Document:
    """Return the manifest that attaches *statement*, without a signature; its blobs are *statement* and `EMPTY`."""
    return _attached(statement, IN_TOTO, {"in-toto.io/predicate-type": predicate_type}, image)


def _attached(content: bytes, media_type: str, annotations: Mapping[str, str], image: Document) -> Document:
    fields = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": media_type,
        "config": _descriptor(EMPTY_TYPE, EMPTY),
        "layers": [_descriptor(media_type, content)],
        "subject": {"mediaType": image.media_type, "digest": image.digest, "size": image.size},
        "annotations": annotations,
    }
    return Document(OCI_MANIFEST, msgspec.json.encode(fields))


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
