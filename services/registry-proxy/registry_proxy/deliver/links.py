"""URLs of blobs for clients: signed links to the data port, or URLs of the object store."""

import time
from typing import Protocol

from msgspec import Struct

from registry_proxy.domain.link import LIFE, Link, mark_of, sign
from registry_proxy.image_tree.blobs import Located
from registry_proxy.image_tree.tree import Pull
from swell.oci.media_types import served_as

STORE_LIFE = 120  # seconds for which a redirect to the object store is valid


class BlobUrl(Struct, frozen=True):
    """The URL of a blob, valid until `expires` (seconds since the epoch); `size` in bytes."""

    url: str
    size: int
    media_type: str
    expires: int


class Stores(Protocol):
    async def in_store(self, link: Link) -> str | None:
        """Return the URL of *link*'s blob in the object store; None if clients cannot get it there."""


class Links:
    """Creates URLs. *data_url* is the data port's URL for clients; *key* signs its links.

    Clients that can reach the object store get its URL.
    """

    def __init__(self, stores: Stores, data_url: str, key: bytes) -> None:
        self._stores = stores
        self._data_url = data_url
        self._key = key

    async def create(self, pull: Pull, located: Located, *, relayed: bool) -> BlobUrl:
        """Return the URL of a blob of *pull*; it is valid for at most 15 minutes and not longer than the token.

        With *relayed*, it is for a gateway that relays the blob.
        """
        link = Link(
            origin=located.origin,
            registry=located.repository.registry,
            repository=located.repository.repository,
            digest=located.descriptor.digest,
            size=located.descriptor.size,
            media_type=served_as(located.descriptor.media_type),
            expires=min(int(time.time()) + LIFE, int(pull.expires.timestamp())),
            relayed=relayed,
            mark=mark_of(pull.token, self._key),
            principal=pull.principal,
        )
        if store_url := await self._stores.in_store(link):
            expires = min(link.expires, int(time.time()) + STORE_LIFE)
            return BlobUrl(store_url, link.size, link.media_type, expires)
        return BlobUrl(self._data_url + sign(link, self._key), link.size, link.media_type, link.expires)
