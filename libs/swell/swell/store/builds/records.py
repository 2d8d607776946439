"""The records: what was submitted, how often it was started, and how it ended."""

from typing import Protocol

from swell.store.records import Build, BuildResult, Listing, Signing


class BuildRecords(Protocol):
    """The records of builds. The builder starts and finishes builds.

    Raises:
        Unavailable: every method, when the store does not answer.
    """

    async def latest(self, target_image: str) -> Build | None:
        """Return the newest build of *target_image*; None when it is missing."""

    async def get(self, build_id: str) -> Build | None:
        """Return the build; None when it is missing."""

    async def before(self, build_id: str) -> Build | None:
        """Return the build before *build_id* in its series; None for the first one, or if its record has expired."""

    async def inputs(self, container_id: str) -> str:
        """Return the first half of the fingerprint of the builds of *container_id*; it outlives their records.

        Empty if it is unknown.
        """

    async def page(self, container_id: str, *, before: int | None, limit: int) -> list[Build]:
        """Return builds of *container_id*, newest first: the *limit* highest numbers below *before*.

        Expired builds are left out.
        """

    async def begin(self, build_id: str) -> int:
        """Start an attempt; return its number, from 1. From now on only the builder can end the build."""

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        """Store *result* unless the build has one; return the stored result."""

    async def put_signing(self, build_id: str, signing: Signing) -> None:
        """Replace what is known about the signature of the image of *build_id*."""

    async def signing(self, build_id: str) -> Signing | None:
        """Return what is known about the signature; None before the first attempt, and without a signing key."""

    async def put_listing(self, build_id: str, listing: Listing | None) -> None:
        """Replace what is known about the list of the packages of the image of *build_id*; None after a success."""

    async def listing(self, build_id: str) -> Listing | None:
        """Return the last attempt to list the packages, if it failed."""

    async def reopen(self, build_id: str) -> None:
        """Remove the result and the attempts of *build_id*, because it is built again."""


def build_ids(container_id: str, newest: int, before: int | None, limit: int) -> list[str]:
    """Return the *limit* highest ids up to the number *newest* and below *before*, newest first."""
    first = newest if before is None else min(newest, before - 1)
    return [f"bd-{container_id}_{number}" for number in range(first, max(first - limit, 0), -1)]
