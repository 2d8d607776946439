"""Signed links: each lets a client fetch one blob from the data port for 15 minutes.

A link is `/blobs/<payload>.<signature>`. The payload has everything a response needs, so serving it needs no lookup.
The signature is an HMAC-SHA256 of the payload with the service's key.
"""

import base64
import binascii
import hashlib
import hmac
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import Struct

from swell.errors import Denied
from swell.oci.digest import Digest
from swell.oci.reference import Reference
from swell.registry.credentials.principal import PUBLIC, Principal

PREFIX = "/blobs/"
LIFE = 900  # seconds; clients follow a link immediately, and a cached link is valid for at least a minute


class Origin(StrEnum):
    """Where the bytes are: a document that this service created, an added layer, or the image's registry."""

    DOCUMENT = "document"
    LAYER = "layer"
    UPSTREAM = "upstream"


class Scope(NamedTuple):
    """A blob in a repository, for one principal."""

    registry: str
    repository: str
    principal: Principal
    digest: Digest

    @property
    def key(self) -> str:
        """A hash of fixed length, which hides the repository's name."""
        return hashlib.sha256("\n".join(self).encode()).hexdigest()[:40]


class Link(Struct, frozen=True, array_like=True):
    """A blob of *repository* and the values of its response headers; `size` in bytes, `expires` in Unix seconds.

    With `relayed`, the data port sends the bytes itself instead of redirecting: the client cannot reach other hosts.
    `mark` identifies the link's token; the blob is fetched with the credentials of `principal`.
    """

    origin: Origin
    registry: str
    repository: str
    digest: Digest
    size: int
    media_type: str
    expires: int
    relayed: bool = False
    mark: str = ""
    principal: Principal = PUBLIC

    @property
    def scope(self) -> "Scope":
        """The boundary for sharing: work and responses are shared within one scope only."""
        return Scope(self.registry, self.repository, self.principal, self.digest)

    @property
    def reference(self) -> Reference:
        return Reference(self.registry, self.repository, digest=self.digest)


def mark_of(token: str, key: bytes) -> str:
    """Return the mark of *token* in its links; it cannot be used as a token."""
    return _encode(hmac.digest(key, f"swell token {token}".encode(), hashlib.sha256)[:12])


def sign(link: Link, key: bytes) -> str:
    """Return the path under which the data port serves *link*."""
    payload = _encode(msgspec.json.encode(link))
    return f"{PREFIX}{payload}.{_signature(payload, key)}"


def verify(path: str, key: bytes, now: float) -> Link:
    """Decode and verify the link in *path*; *now* is in Unix seconds.

    Raises:
        Denied: the signature is invalid, or the link has expired.
    """
    payload, _, signature = path.removeprefix(PREFIX).partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(payload, key).encode()):
        raise Denied("the signature of this link is invalid")
    link = _decode(payload)
    if link.expires <= now:
        raise Denied("this link has expired: pull the image again")
    return link


def _signature(payload: str, key: bytes) -> str:
    return _encode(hmac.digest(key, f"swell blob link {payload}".encode(), hashlib.sha256))


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(payload: str) -> Link:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=="), type=Link)
    except (binascii.Error, ValueError) as error:
        raise Denied("this link was made by another version of this service") from error
