"""Encrypted packets: the secrets of a credential, encrypted by Platform with the public key of the pairing.

Version 1 is Wave's: an AES-128 key under RSA (PKCS #1 v1.5), and JSON under AES-ECB, without authentication. Version 2
is Swell's, for Platforms that offer it when they pair: an AES-256 key under RSA-OAEP, and JSON under AES-GCM, bound to
the pairing and the credential. A pairing with version 2 accepts no packet of version 1.

Import this module when it is needed: `cryptography` takes some megabytes.

Sources: RFC 8017, https://www.rfc-editor.org/rfc/rfc8017; NIST SP 800-38D, https://csrc.nist.gov/pubs/sp/800/38/d/final
"""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.padding import PKCS7

from swell.errors import PlatformFailed

MAX_PACKET = 64 << 10  # characters
KEY_BITS = 2048


def new_key_pair() -> tuple[bytes, bytes]:
    """Return a new RSA key pair: the private key as PKCS #8, the public one as X.509 SubjectPublicKeyInfo, both DER."""

    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public


def decrypt(packet: str, private_key: bytes, version: int, context: bytes = b"") -> bytes:
    """Return the JSON in *packet*, which must be of *version*; *context* names the pairing and the credential.

    Raises:
        PlatformFailed: the packet is malformed, of another version, or encrypted for another key.
    """
    fields = packet.split("\\")
    if len(packet) > MAX_PACKET or fields[0] != str(version) or version not in {1, 2}:
        raise PlatformFailed("the Platform sends a credential in another form than the paired one")
    if fields[1:2] != ["P"]:
        raise PlatformFailed("the Platform sends a credential that is not encrypted with the public key")

    key = serialization.load_der_private_key(private_key, None)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101
    try:
        parts = [base64.b64decode(each, validate=True) for each in fields[2:]]
        return _version_1(key, *parts) if version == 1 else _version_2(key, context, *parts)
    except (binascii.Error, ValueError, TypeError, InvalidTag) as error:
        raise PlatformFailed("the Platform sends a credential that cannot be decrypted") from error


def packet_context(pairing_id: str, credential_id: str) -> bytes:
    """The bytes that a packet of version 2 is bound to."""
    return f"2\\P\\{pairing_id}\\{credential_id}".encode()


def _version_1(key: rsa.RSAPrivateKey, wrapped: bytes, content: bytes) -> bytes:

    session_key = key.decrypt(wrapped, PKCS1v15())
    if len(session_key) != 16:
        raise ValueError("the session key has another length")
    decryptor = Cipher(algorithms.AES128(session_key), modes.ECB()).decryptor()  # noqa: S305  the format's
    padded = decryptor.update(content) + decryptor.finalize()
    unpadder = PKCS7(128).unpadder()
    return unpadder.update(padded) + unpadder.finalize()


def _version_2(key: rsa.RSAPrivateKey, context: bytes, wrapped: bytes, nonce: bytes, content: bytes) -> bytes:

    session_key = key.decrypt(wrapped, OAEP(MGF1(SHA256()), SHA256(), label=None))
    if len(session_key) != 32:
        raise ValueError("the session key has another length")
    return AESGCM(session_key).decrypt(nonce, content, context)
