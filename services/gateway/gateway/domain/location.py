"""Where a client gets a blob."""

from msgspec import Struct


class Location(Struct, frozen=True):
    """The URL of a blob, valid until `expires` (seconds since the epoch); `size` in bytes."""

    url: str
    size: int
    media_type: str
    expires: int
