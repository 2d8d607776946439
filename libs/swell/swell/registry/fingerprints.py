"""Cache keys made of secrets: the whole of them counts, and none can be read from a key."""

import hashlib
import hmac
import secrets


class Fingerprints:
    """Keyed hashes; the key is made at random and never leaves the process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, *parts: str | None) -> bytes:
        text = repr(parts).encode()  # which has all of them apart, and spells out what a registry sent that is no text
        return hmac.digest(self._secret, text, hashlib.sha256)
