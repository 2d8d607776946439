"""Tokens: a bearer token gives the right to pull one image."""

import base64
import re
import secrets


def new_token() -> str:
    """128 random bits as 26 lower-case letters and digits."""
    return base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


def is_token(text: str) -> bool:
    """Whether *text* has the form of a token, of this server or of Wave (12 hexadecimal digits)."""
    return re.fullmatch(r"[a-z0-9]{12,128}", text) is not None
