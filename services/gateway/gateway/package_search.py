"""The search for packages, as the picker needs it."""

from typing import Protocol

from msgspec import Struct

from gateway.access.shares import Shares
from gateway.domain.access.identity import Caller

AT_ONCE = 2
"""Searches of one client. The builder runs two of all clients, and lets 32 wait."""


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


class Packages(Protocol):
    async def search(self, text: str, platform: str) -> Found:
        """The packages whose names contain *text*; an empty text finds none, only the channels.

        Raises:
            BadRequest: there are no packages for *platform*.
            UpstreamFailed: a channel cannot be read.
            Unavailable: the builder does not answer.
        """


class PackageSearch:
    """Searches packages; further searches of a client wait."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages
        self._shares = Shares(AT_ONCE)

    async def search(self, text: str, platform: str, caller: Caller) -> Found:
        """See `Packages.search`.

        Raises:
            Unavailable: as above, or other searches of *caller* take too long.
        """
        async with self._shares.taken(caller):
            return await self._packages.search(text, platform)

    async def channels(self) -> tuple[str, ...]:
        """The channels that are searched, which the builder returns at once."""
        return (await self._packages.search("", "linux/amd64")).channels
