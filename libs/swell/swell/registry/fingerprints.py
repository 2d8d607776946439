"""Cache keys made of secrets: the whole of them counts, and none can be read from a key."""

import hashlib
import hmac
import secrets

import msgspec


class Fingerprints:
    """Keyed hashes; the key is made at random and never leaves the process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, *parts: str | None) -> bytes:
        return hmac.digest(self._secret, msgspec.json.encode(parts), hashlib.sha256)
