"""Encryption at rest: AES-256-GCM with keys from the settings, each with an id.

A ciphertext is `swell1.<key id>.<base64url of nonce, ciphertext and tag>`, and is bound to the name of its record:
moved to another record, it cannot be decrypted. A nonce is 96 random bits. NIST allows
2^32 random nonces for one key.

Source: NIST SP 800-38D, https://csrc.nist.gov/pubs/sp/800/38/d/final
"""

import base64
import binascii
import os
import re
import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from swell.errors import DecryptionFailed
from swell.settings import SettingsInvalid

if TYPE_CHECKING:  # imported when the first secret is encrypted or decrypted: it takes some megabytes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_KEYS = 20
KEY_BYTES = 32
NONCE_BYTES = 12
MAX_PLAINTEXT = 1 << 20
_VERSION = b"swell1"
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


class EncryptionKeys:
    """The keys by id, each 32 bytes. The first one encrypts; all of them decrypt."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise SettingsInvalid("at least one encryption key is needed")
        self._keys = dict(keys)
        self.current = next(iter(keys))

    def __repr__(self) -> str:
        return f"EncryptionKeys({', '.join(self._keys)})"

    def encrypt(self, plaintext: bytes, record: str) -> bytes:
        """Encrypt *plaintext*, at most 1 MiB, for the record with the name *record*."""
        if len(plaintext) > MAX_PLAINTEXT:
            raise ValueError("a secret has at most 1 MiB")
        nonce, key_id = os.urandom(NONCE_BYTES), self.current.encode()
        content = nonce + self._ciphers[self.current].encrypt(nonce, plaintext, _associated(key_id, record))
        return b".".join((_VERSION, key_id, base64.urlsafe_b64encode(content)))

    def decrypt(self, ciphertext: bytes, record: str) -> bytes:
        """Return the plaintext of *ciphertext*, which `encrypt` has made for *record*.

        Raises:
            DecryptionFailed: it was changed, belongs to another record, or its key is not among these.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        key_id, content = _split(ciphertext)
        if (cipher := self._ciphers.get(key_id)) is None:
            raise DecryptionFailed(f"the encryption key {key_id[:32]} of a stored secret is missing")
        nonce, encrypted = content[:NONCE_BYTES], content[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, encrypted, _associated(key_id.encode(), record))
        except (InvalidTag, ValueError) as error:
            raise DecryptionFailed("a stored secret was changed, or belongs to another record") from error

    def is_current(self, ciphertext: bytes) -> bool:
        """Return whether the key that encrypts now has made *ciphertext*."""
        return key_id_of(ciphertext) == self.current

    @cached_property
    def _ciphers(self) -> "dict[str, AESGCM]":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        return {key_id: AESGCM(key) for key_id, key in self._keys.items()}


def key_id_of(ciphertext: bytes) -> str:
    """Return the id of the key that has made *ciphertext*.

    Raises:
        DecryptionFailed: it is no ciphertext.
    """
    return _split(ciphertext)[0]


def parse_keys(text: str) -> EncryptionKeys | None:
    """Parse `id:base64` entries, separated by commas, blanks or lines; None if *text* is empty.

    Raises:
        SettingsInvalid: an entry has another form, or an id occurs twice. The message contains no key.
    """
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(filter(None, re.split(r"[,\s]+", text)), 1):
        key_id, _, encoded = entry.partition(":")
        key = _decoded(encoded)
        if not _KEY_ID.fullmatch(key_id) or len(key) != KEY_BYTES:
            raise SettingsInvalid(
                f"entry {number} of SWELL_ENCRYPTION_KEYS is not id:base64 of 32 bytes; "
                "`python -m gateway.encryption new-key` prints one"
            )
        if key_id in keys:
            raise SettingsInvalid(f"SWELL_ENCRYPTION_KEYS has two keys with the id {key_id}")
        keys[key_id] = key
    if len(keys) > MAX_KEYS:
        raise SettingsInvalid(f"SWELL_ENCRYPTION_KEYS has more than {MAX_KEYS} keys")
    return EncryptionKeys(keys) if keys else None


def new_key(key_id: str) -> str:
    """Return a new random key as an entry of SWELL_ENCRYPTION_KEYS.

    Raises:
        SettingsInvalid: *key_id* is not 1 to 32 letters, digits, `_` and `-`.
    """
    if not _KEY_ID.fullmatch(key_id):
        raise SettingsInvalid("the id of a key is 1 to 32 letters, digits, _ and -")
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def _associated(key_id: bytes, record: str) -> bytes:
    return b"\0".join((_VERSION, key_id, record.encode()))


def _split(ciphertext: bytes) -> tuple[str, bytes]:
    version, _, rest = ciphertext.partition(b".")
    key_id, _, encoded = rest.partition(b".")
    try:
        if version == _VERSION and key_id:
            return key_id.decode("ascii"), base64.b64decode(encoded, b"-_", validate=True)
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise DecryptionFailed("a stored secret is not encrypted in a known form")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return b""
