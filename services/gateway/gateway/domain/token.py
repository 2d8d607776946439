"""Tokens: whoever knows one may pull one image."""

import re
import secrets
import string

_ALPHABET = string.ascii_lowercase + string.digits
_LENGTH = 26  # 36^26 is more than 2^134


def new_token() -> str:
    """26 lower-case letters and digits that nobody can guess."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def is_token(text: str) -> bool:
    """Whether *text* could be a token, ours or one of Wave's 12 hex digits."""
    return re.fullmatch(r"[a-z0-9]{12,}", text) is not None
