"""Keys: ECDSA with P-256 and SHA-256, the default of cosign.

Sources: RFC 6979, "Deterministic Usage of DSA and ECDSA", https://www.rfc-editor.org/rfc/rfc6979; cosign, "Signing with
self-managed keys", https://docs.sigstore.dev/cosign/key_management/signing_with_self-managed_keys/
"""

import hashlib
import re
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from swell.settings import SettingsInvalid

MAX_TRUSTED = 100
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class Signer(Protocol):
    """Signs with one key: from a file, or in a key management service."""

    @property
    def key_id(self) -> str:
        """The hexadecimal sha256 digest of the public key (DER)."""

    async def sign(self, content: bytes) -> bytes:
        """Return the signature (DER) of *content*: the same one each time, so that a repeated attempt changes nothing.

        Raises:
            Unavailable: the key management service does not answer.
        """


class KeySigner:
    """Signs with a private key in this process."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.key_id = key_id_of(key.public_key())

    @property
    def public_key(self) -> bytes:
        """The public key as PEM, for `cosign verify --key`."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    async def sign(self, content: bytes) -> bytes:
        return self._key.sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


class TrustedKeys:
    """The public keys of current and former signers, so that a key can be replaced while its signatures stay valid."""

    def __init__(self, *keys: ec.EllipticCurvePublicKey) -> None:
        self._keys = {key_id_of(key): key for key in keys}

    def signer_of(self, content: bytes, signature: bytes) -> str | None:
        """Return the id of the key that made *signature* of *content*; None if it is none of these."""
        for key_id, key in self._keys.items():
            try:
                key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                continue
            return key_id
        return None


def load_signer(pem: bytes) -> KeySigner:
    """Return the signer for a private key without a password: PEM, PKCS #8 or SEC 1.

    Raises:
        SettingsInvalid: it is no such key; the message does not contain it.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise SettingsInvalid("the signing key is not a private key in PEM without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SettingsInvalid("the signing key must be an ECDSA key on the curve P-256")
    return KeySigner(key)


def load_trusted_keys(*pems: bytes) -> TrustedKeys:
    """Return the keys in *pems*, each of which may contain several public keys.

    Raises:
        SettingsInvalid: one of them is not a public key on the curve P-256, or there are more than 100.
    """
    blocks = [block for pem in pems for block in _PEM.findall(pem)]
    if len(blocks) > MAX_TRUSTED:
        raise SettingsInvalid(f"more than {MAX_TRUSTED} trusted keys")
    keys = []
    for block in blocks:
        try:
            key = load_pem_public_key(block)
        except ValueError as error:
            raise SettingsInvalid("a trusted key is not a public key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise SettingsInvalid("a trusted key must be an ECDSA key on the curve P-256")
        keys.append(key)
    return TrustedKeys(*keys)


def key_id_of(key: ec.EllipticCurvePublicKey) -> str:
    """Return the hexadecimal sha256 digest of *key* (DER)."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
