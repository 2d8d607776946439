"""The Platform's side of encrypted packets: encrypt with the public key of the pairing."""

import base64
import json
import os

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.padding import PKCS7


def packet_1(public_key: bytes, secret: dict[str, object]) -> str:
    """Encrypt *secret* as a packet of version 1."""
    session_key = os.urandom(16)
    padder = PKCS7(128).padder()
    padded = padder.update(json.dumps(secret).encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES128(session_key), modes.ECB()).encryptor()  # noqa: S305  the format's
    content = encryptor.update(padded) + encryptor.finalize()
    return "\\".join(("1", "P", _encoded(_key(public_key).encrypt(session_key, PKCS1v15())), _encoded(content)))


def packet_2(public_key: bytes, secret: dict[str, object], pairing_id: str, credential_id: str) -> str:
    """Encrypt *secret* as a packet of version 2, for one pairing and one credential."""
    session_key, nonce = AESGCM.generate_key(256), os.urandom(12)
    context = f"2\\P\\{pairing_id}\\{credential_id}".encode()
    content = AESGCM(session_key).encrypt(nonce, json.dumps(secret).encode(), context)
    wrapped = _key(public_key).encrypt(session_key, OAEP(MGF1(SHA256()), SHA256(), label=None))
    return "\\".join(("2", "P", _encoded(wrapped), _encoded(nonce), _encoded(content)))


def _key(public_key: bytes) -> rsa.RSAPublicKey:
    key = serialization.load_der_public_key(public_key)
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
