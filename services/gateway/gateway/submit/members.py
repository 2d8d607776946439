"""Texts that a request carries along: in base64, and errors that name the member they stand in."""

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager

from swell.errors import BadRequest, DigestInvalid, TooLarge


def decoded(member: str, encoded: str) -> bytes:
    """The bytes of *encoded*, the only base64 that they have.

    Raises:
        BadRequest: it is none, or has bits that say nothing: other readers would take it for something else.
    """
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _not_base64(member, str(error)) from error
    if base64.b64encode(content).decode() != encoded:
        raise _not_base64(member, "its end is not as encoders write it")
    return content


def text_of(member: str, encoded: str) -> str:
    """The UTF-8 text in *encoded*.

    Raises:
        BadRequest: it is none.
    """
    try:
        return decoded(member, encoded).decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{member} is not UTF-8 text: {error.reason} at byte {error.start}") from error


@contextmanager
def naming(member: str) -> Iterator[None]:
    """Let what is wrong in the block be told of *member*."""
    try:
        yield
    except (BadRequest, DigestInvalid, TooLarge) as error:
        raise type(error)(f"{member}: {error}") from error


def _not_base64(member: str, reason: str) -> BadRequest:
    return BadRequest(f"{member} is not valid base64 (standard alphabet, padded, no line breaks): {reason}")
