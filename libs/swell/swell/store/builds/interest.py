"""The interest of requests in builds: a build is cancelled when its last request withdraws."""

from enum import StrEnum
from typing import NamedTuple, Protocol

from swell.store.records import BuildResult


class CancelState(StrEnum):
    """The effect of a request to cancel a build. The values are those of the Lua script."""

    UNKNOWN = "unknown"
    """The build does not exist."""
    ENDED = "ended"
    """The build had ended before."""
    REFUSED = "refused"
    """The caller has no interest in the build."""
    STILL_NEEDED = "left"
    """The interest is withdrawn; other requests still need the build."""
    STOPPING = "ending"
    """The build is cancelled; the builder that runs it stops it."""
    DEQUEUED = "taken-out"
    """The build is cancelled and has ended, because no builder had started it."""


class CancelOutcome(NamedTuple):
    """The effect of a cancellation.

    `others` counts the requests, and the builds of several platforms, that still need the build. `children` are the
    cancelled builds that only this build needed; each is `STOPPING` or `DEQUEUED`.
    """

    state: CancelState
    others: int = 0
    children: tuple[tuple[str, CancelState], ...] = ()


class BuildInterest(Protocol):
    """Which requests need which builds.

    Raises:
        Unavailable: every method, when the store does not answer.
    """

    async def add_interest(self, build_id: str, request_id: str, user: str) -> bool:
        """Record that a request needs *build_id*; *user* is empty for an anonymous one. False: it is cancelled."""

    async def cancel(
        self, build_id: str, result: BuildResult, *, request_id: str, user: str, all_requests: bool
    ) -> CancelOutcome:
        """Withdraw the interest of one request, of all requests of *user*, or of all requests.

        A build without interest is cancelled. When no builder has started it, it ends with *result*. The same applies
        to its children that nothing else needs.
        """
