"""Cache keys for secrets: keyed hashes that do not reveal the secrets."""

import hashlib
import hmac
import secrets


class Fingerprints:
    """Keyed hashes (HMAC-SHA256); the key is random and never leaves the process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, *parts: str | None) -> bytes:
        text = repr(parts).encode()  # unambiguous, and escapes invalid characters
        return hmac.digest(self._secret, text, hashlib.sha256)
