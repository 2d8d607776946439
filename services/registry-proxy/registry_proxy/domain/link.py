"""Links: what lets a client fetch one blob from the data port, for a short while.

A link is `/blobs/<payload>.<signature>`. The payload tells all that an answer needs, so serving it asks nobody; the
signature is HMAC-SHA256 over it with the service's key.
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
from swell.registry.principal import PUBLIC, Principal

PREFIX = "/blobs/"
LIFE = 900  # seconds; a client follows a link at once, one from a cache has a minute left at least


class Origin(StrEnum):
    """Where the bytes are: a document that we made, a layer that was added, or the registry of the image."""

    DOCUMENT = "document"
    LAYER = "layer"
    UPSTREAM = "upstream"


class Scope(NamedTuple):
    """A blob in a repository as a principal may read it."""

    registry: str
    repository: str
    principal: Principal
    digest: Digest

    @property
    def key(self) -> str:
        """A name of fixed length, which shows nothing of the repository."""
        return hashlib.sha256("\n".join(self).encode()).hexdigest()[:40]


class Link(Struct, frozen=True, array_like=True):
    """A blob of *repository* and all that its headers say; `size` in bytes, `expires` in seconds since the epoch.

    What is `relayed` comes from the data port itself: whoever follows the link can reach nothing else. `mark` stands
    for the token that the link was given for, `principal` for whose credentials may fetch the blob.
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
        """Who may read the blob where: work and answers are shared within it, never beyond."""
        return Scope(self.registry, self.repository, self.principal, self.digest)

    @property
    def reference(self) -> Reference:
        return Reference(self.registry, self.repository, digest=self.digest)


def mark_of(token: str, key: bytes) -> str:
    """What stands for *token* in its links: it opens nothing."""
    return _encode(hmac.digest(key, f"swell token {token}".encode(), hashlib.sha256)[:12])


def sign(link: Link, key: bytes) -> str:
    """The path under which the data port serves *link*."""
    payload = _encode(msgspec.json.encode(link))
    return f"{PREFIX}{payload}.{_signature(payload, key)}"


def verify(path: str, key: bytes, now: float) -> Link:
    """The link that *path* carries.

    Raises:
        Denied: we did not sign it, or it has expired.
    """
    payload, _, signature = path.removeprefix(PREFIX).partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(payload, key).encode()):
        raise Denied("this link is not one of ours")
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
