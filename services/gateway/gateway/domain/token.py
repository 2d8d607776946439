"""Tokens: a bearer token gives the right to pull one image."""

import re
import secrets

_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567"
_OF_BYTE = _LETTERS * (256 // len(_LETTERS))


def new_token() -> str:
    """130 random bits as 26 lower-case letters and digits, five in each."""
    return secrets.token_bytes(26).translate(_OF_BYTE).decode()


def is_token(text: str) -> bool:
    """Whether *text* has the form of a token, of this server or of Wave (12 hexadecimal digits)."""
    return re.fullmatch(r"[a-z0-9]{12,128}", text) is not None
