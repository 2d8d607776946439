"""Attest what was added to an image: a provenance document, and with a key, signatures."""

from collections.abc import Awaitable, Callable

from registry_proxy.domain.provenance import provenance_of
from registry_proxy.image_tree.tree import Documents, Pull
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX
from swell.signing.statements import (
    BUNDLE,
    EMPTY,
    EMPTY_TYPE,
    IN_TOTO,
    PROVENANCE,
    SIGNATURE,
    Subject,
    attachment,
    encode_statement,
    unsigned_attachment,
)

Sign = Callable[[bytes], Awaitable[bytes]]
"""Signs a statement; returns its bundle, with equal bytes for equal statements."""


class Attestation:
    """Makes the referrers of augmented images; without *sign*, they are not signed.

    They are the same for equal tokens, so they can be made again. A token reads them like other created documents.
    """

    def __init__(self, documents: Documents, sign: Sign | None = None) -> None:
        self._documents = documents
        self._sign = sign

    async def index(self, pull: Pull, augmented: Document, base: Digest) -> Document:
        """Return the index of the referrers of *augmented*, which was made of *base*; store it and what it lists."""
        subject = Subject(pull.image.name, augmented.digest)
        statement = encode_statement(subject, PROVENANCE, provenance_of(pull.image, base, pull.container_config))
        if self._sign is None:
            manifests = [
                await self._store(pull, statement, IN_TOTO, unsigned_attachment(statement, PROVENANCE, augmented))
            ]
        else:
            statements = {PROVENANCE: statement, SIGNATURE: encode_statement(subject, SIGNATURE, {})}
            bundles = {kind: await self._sign(content) for kind, content in statements.items()}
            manifests = [
                await self._store(pull, bundle, BUNDLE, attachment(bundle, kind, augmented))
                for kind, bundle in bundles.items()
            ]
        index = Document(OCI_INDEX, b"{}").changed(
            schemaVersion=2, mediaType=OCI_INDEX, manifests=list(map(_entry, manifests))
        )
        await self._documents.put_referrers(pull.token, augmented.digest, index, pull.expires)
        return index

    async def _store(self, pull: Pull, content: bytes, media_type: str, manifest: Document) -> Document:
        for blob in (Document(EMPTY_TYPE, EMPTY), Document(media_type, content)):
            await self._documents.put_config(pull.token, blob, pull.expires)
        await self._documents.put(pull.token, manifest, pull.expires)
        return manifest


def _entry(manifest: Document) -> dict[str, object]:
    fields = manifest.fields
    return {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.size,
        "artifactType": fields["artifactType"],
        "annotations": fields["annotations"],
    }
