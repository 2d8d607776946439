"""Sigstore bundles: a signed statement about an image, as JSON.

Sources: DSSE protocol, https://github.com/secure-systems-lab/dsse/blob/master/protocol.md; sigstore, "Bundle format",
https://docs.sigstore.dev/about/bundle/
"""

import base64
import binascii
from typing import Any

import msgspec
from msgspec import Struct

from swell.errors import ManifestInvalid
from swell.oci.digest import Digest, hex_of
from swell.signing.keys import Signer, TrustedKeys
from swell.signing.statements import BUNDLE, IN_TOTO, STATEMENT

MAX_BUNDLE = 16 << 20


class _Signature(Struct, frozen=True):
    sig: str


class _Envelope(Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


class _Bundle(Struct, frozen=True, rename="camel"):
    dsse_envelope: _Envelope


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
    try:
        statement = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ManifestInvalid(f"the statement of the bundle cannot be read: {error}") from error
    algorithm = digest.partition(":")[0]
    match statement:
        case {
            "_type": type_,
            "subject": [{"digest": dict(digests)}],
            "predicateType": str(written),
            "predicate": dict(predicate),
        } if (
            envelope.payload_type == IN_TOTO
            and type_ == STATEMENT
            and digests.get(algorithm) == hex_of(digest)
            and written == predicate_type
        ):
            return predicate
    raise ManifestInvalid(f"the bundle is no {predicate_type} of {digest}")


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature signs: the type and the payload with their lengths."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
