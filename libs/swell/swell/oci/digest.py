"""Digests: the names of exact bytes.

Source: OCI image-spec, descriptor.md, "Digests".
"""

import hashlib
import re
from typing import Annotated, NewType

from msgspec import Meta

from swell.errors import DigestInvalid

_GRAMMAR = r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z"

Digest = NewType("Digest", Annotated[str, Meta(pattern=_GRAMMAR)])


def parse_digest(text: str) -> Digest:
    """Read `sha256:<64 hex>` or `sha512:<128 hex>`, hex in lower case.

    Raises:
        DigestInvalid: it is neither.
    """
    if not re.match(_GRAMMAR, text):
        raise DigestInvalid(f"'{text[:160]}' is no digest: expected sha256:<64 hex> or sha512:<128 hex>")
    return Digest(text)


def digest_of(content: bytes) -> Digest:
    """The sha256 digest of *content*."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def hex_of(digest: Digest) -> str:
    """The part after the algorithm's name."""
    return digest.partition(":")[2]
