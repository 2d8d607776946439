"""Digests: the names of exact bytes.

Source: OCI image-spec, "Digests", https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
"""

import hashlib
import re
from typing import Annotated, NewType

from msgspec import Meta

from swell.errors import DigestInvalid

_GRAMMAR = r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z"

Digest = NewType("Digest", Annotated[str, Meta(pattern=_GRAMMAR)])


def parse_digest(text: str) -> Digest:
    """Parse `sha256:<64 hex>` or `sha512:<128 hex>`, hexadecimal digits in lower case.

    Raises:
        DigestInvalid: it has another form.
    """
    if not re.match(_GRAMMAR, text):
        raise DigestInvalid(f"'{text[:160]}' is no digest: expected sha256:<64 hex> or sha512:<128 hex>")
    return Digest(text)


def tag_of(digest: Digest) -> str:
    """Return a tag made from *digest*: `sha256-<64 hex>`, as in the referrers tag schema.

    Source: OCI distribution-spec, "Referrers Tag Schema",
    https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
    """
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}-{encoded[:64]}"


def digest_of(content: bytes) -> Digest:
    """Return the sha256 digest of *content*."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def hex_of(digest: Digest) -> str:
    """Return the part after the name of the algorithm."""
    return digest.partition(":")[2]
