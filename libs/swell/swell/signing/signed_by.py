"""Who signed a bundle, as it says itself: a key, or an identity with a certificate. This is no verification.

Sources: sigstore, "Bundle format", https://docs.sigstore.dev/about/bundle/; Fulcio, "OID information",
https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
"""

import base64
import binascii

import msgspec
from cryptography import x509
from msgspec import Struct

from swell.errors import ManifestInvalid

_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_UTF8 = 0x0C  # DER: a string of UTF-8


class SignedBy(Struct, frozen=True):
    """`key_id` is the sha256 digest of a public key (hexadecimal), or `identity` and `issuer` are in a certificate."""

    key_id: str = ""
    identity: str = ""
    issuer: str = ""


class _Key(Struct):
    hint: str = ""


class _Certificate(Struct, rename="camel"):
    raw_bytes: str


class _Material(Struct, rename="camel"):
    public_key: _Key | None = None
    certificate: _Certificate | None = None


class _Bundle(Struct, rename="camel"):
    verification_material: _Material


def signed_by(bundle: bytes) -> SignedBy:
    """Return who signed *bundle*.

    Raises:
        ManifestInvalid: it cannot be read.
    """
    try:
        material = msgspec.json.decode(bundle, type=_Bundle).verification_material
        if material.certificate is None:
            return SignedBy(key_id=base64.b64decode(material.public_key.hint if material.public_key else "").hex())
        return _of_certificate(base64.b64decode(material.certificate.raw_bytes))
    except (msgspec.MsgspecError, RecursionError, binascii.Error, ValueError, x509.ExtensionNotFound) as error:
        raise ManifestInvalid(f"the signer of the bundle cannot be read: {error}") from error


def _of_certificate(der: bytes) -> SignedBy:
    extensions = x509.load_der_x509_certificate(der).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    identities = [
        str(name.value) for name in names if isinstance(name, x509.RFC822Name | x509.UniformResourceIdentifier)
    ]
    if not identities:  # a name that Fulcio has an own type for
        identities = [_text(name.value) for name in names if isinstance(name, x509.OtherName)]
    issuer = extensions.get_extension_for_oid(_ISSUER).value
    if not identities or not isinstance(issuer, x509.UnrecognizedExtension):
        raise ValueError("its certificate has no identity")
    return SignedBy(identity=identities[0], issuer=_text(issuer.value))


def _text(der: bytes) -> str:
    """Read a string of UTF-8 with less than 128 bytes, or with a length of one or two bytes."""
    if len(der) < 2 or der[0] != _UTF8:
        raise ValueError("not a string of UTF-8")
    start = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    return der[start:].decode()
