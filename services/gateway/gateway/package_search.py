"""The search for packages, as the picker needs it."""

from typing import Protocol, runtime_checkable

from msgspec import Struct


class FoundPackage(Struct, frozen=True):
    """A package of `channel`; the newest of `versions` is first, `summary` may be empty."""

    name: str
    channel: str
    versions: tuple[str, ...]
    summary: str = ""


class Found(Struct, frozen=True):
    """The packages of a search, the best match first, and the channels that were searched."""

    packages: tuple[FoundPackage, ...] = ()
    channels: tuple[str, ...] = ()


@runtime_checkable
class PackageSearch(Protocol):
    async def search(self, text: str, platform: str) -> Found:
        """The packages whose names contain *text*; an empty text finds none.

        Raises:
            BadRequest: there are no packages for *platform*.
            UpstreamFailed: a channel cannot be read.
            Unavailable: the builder does not answer.
        """
