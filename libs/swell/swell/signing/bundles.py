"""Sigstore bundles: a signed statement about an image, as JSON.

Sources: DSSE protocol, https://github.com/secure-systems-lab/dsse/blob/master/protocol.md; sigstore, "Bundle format",
https://docs.sigstore.dev/about/bundle/
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from swell.errors import ManifestInvalid
from swell.oci.digest import Digest, hex_of
from swell.signing.keys import Signer, TrustedKeys
from swell.signing.statements import BUNDLE, IN_TOTO, STATEMENT, Unsigned

MAX_BUNDLE = 16 << 20


class _Signature(Struct, frozen=True):
    sig: str


class _Envelope(Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


class _Bundle(Struct, frozen=True, rename="camel"):
    dsse_envelope: _Envelope


class Notary(Protocol):
    """Signs statements about images: with a key, or with certificates."""

    async def sign(self, statements: Sequence[Unsigned]) -> Sequence[bytes]:
        """Return the bundles of *statements*, in their order: those of an earlier attempt, if they are still valid.

        Raises:
            Unavailable: a service that is needed fails; try again later.
        """


class KeyNotary:
    """Signs with one key; bundles that it or a former one has signed are used again."""

    def __init__(self, signer: Signer, keys: TrustedKeys) -> None:
        self._signer = signer
        self._keys = keys

    async def sign(self, statements: Sequence[Unsigned]) -> Sequence[bytes]:
        return [stored_bundle(each, self._keys) or await sign(each.content, self._signer) for each in statements]


def stored_bundle(statement: Unsigned, keys: TrustedKeys) -> bytes | None:
    """Return the stored bundle of *statement* if one of *keys* signed it."""
    if statement.stored is None:
        return None
    try:
        verify(statement.stored, keys, statement.digest, statement.predicate_type)
    except ManifestInvalid:
        return None
    return statement.stored


async def sign(statement: bytes, signer: Signer) -> bytes:
    """Return the bundle of *statement*, signed by *signer*; equal statements have equal bundles."""
    signature = await signer.sign(pre_authentication_encoding(IN_TOTO, statement))
    hint = base64.b64encode(bytes.fromhex(signer.key_id)).decode()
    bundle = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode(),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        },
    }
    return msgspec.json.encode(bundle)


def verify(bundle: bytes, keys: TrustedKeys, digest: Digest, predicate_type: str) -> dict[str, Any]:
    """Return the predicate of *bundle* if one of *keys* signed it, for *digest* and with *predicate_type*.

    Raises:
        ManifestInvalid: it is malformed, signed by another key, or about something else.
    """
    try:
        envelope = msgspec.json.decode(bundle, type=_Bundle).dsse_envelope
        payload = base64.b64decode(envelope.payload, validate=True)
        signatures = [base64.b64decode(each.sig, validate=True) for each in envelope.signatures]
    except (msgspec.MsgspecError, binascii.Error, RecursionError) as error:
        raise ManifestInvalid(f"the bundle cannot be read: {error}") from error
    encoded = pre_authentication_encoding(envelope.payload_type, payload)
    if len(signatures) != 1 or keys.signer_of(encoded, signatures[0]) is None:
        raise ManifestInvalid("the bundle is not signed by a trusted key")
    if envelope.payload_type != IN_TOTO:
        raise ManifestInvalid(f"the bundle is no {predicate_type} of {digest}")
    return predicate_of(payload, digest, predicate_type)


def predicate_of(statement: bytes, digest: Digest, predicate_type: str) -> dict[str, Any]:
    """Return the predicate of *statement* if it is about *digest* and has *predicate_type*.

    Raises:
        ManifestInvalid: it is malformed, or about something else.
    """
    try:
        fields = msgspec.json.decode(statement, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ManifestInvalid(f"the statement of the bundle cannot be read: {error}") from error
    algorithm = digest.partition(":")[0]
    match fields:
        case {
            "_type": type_,
            "subject": [{"digest": dict(digests)}],
            "predicateType": str(written),
            "predicate": dict(predicate),
        } if type_ == STATEMENT and digests.get(algorithm) == hex_of(digest) and written == predicate_type:
            return predicate
    raise ManifestInvalid(f"the bundle is no {predicate_type} of {digest}")


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature signs: the type and the payload with their lengths."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
