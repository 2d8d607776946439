"""Members of a request: texts in base64, and errors that name their member."""

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager

from swell.errors import BadRequest, DigestInvalid, TooLarge


def decode_base64(member: str, encoded: str) -> bytes:
    """Return the bytes of *encoded*, which is in the canonical encoding: one content has one text.

    Source: RFC 4648, 3.5 "Canonical Encoding", https://www.rfc-editor.org/rfc/rfc4648#section-3.5

    Raises:
        BadRequest: it is not base64, or its unused bits are not zero.
    """
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _not_base64(member, str(error)) from error
    if base64.b64encode(content).decode() != encoded:
        raise _not_base64(member, "its unused bits are not zero")
    return content


def decode_text(member: str, encoded: str) -> str:
    """Return the UTF-8 text in *encoded*.

    Raises:
        BadRequest: it is not base64, or not UTF-8.
    """
    try:
        return decode_base64(member, encoded).decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{member} is not UTF-8 text: {error.reason} at byte {error.start}") from error


@contextmanager
def member_errors(member: str) -> Iterator[None]:
    """Prefix the errors of the block with the name of *member*."""
    try:
        yield
    except (BadRequest, DigestInvalid, TooLarge) as error:
        raise type(error)(f"{member}: {error}") from error


def _not_base64(member: str, reason: str) -> BadRequest:
    return BadRequest(f"{member} is not valid base64 (standard alphabet, padded, no line breaks): {reason}")
