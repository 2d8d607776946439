"""Leases: a token lives while a client, or the run that it belongs to, holds a lease of it.

A lease lasts a step from its last renewal. No lease passes the limit, counted from the creation of the token.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from msgspec import Struct

from gateway.domain.access.lease_terms import LeaseTerms
from swell.api.leases import LeaseAnswer, ReturnedLease
from swell.errors import NotFound, TooManyRequests

MAX_LEASES = 100
"""Of one token."""
RUN = "run"
"""The name of the lease that the gateways hold for a run of a Seqera Platform."""
_PREFIX = "ls-"


class LeasedToken(Struct, frozen=True):
    """What the leases of a token start from: `base` is its end without leases, `latest` the end with any."""

    token: str
    base: datetime
    latest: datetime


class Held(Struct, frozen=True):
    """The result of a change: when the token expires; None if the token or the lease does not exist."""

    end: datetime | None
    is_full: bool = False


class Leases(Protocol):
    """Every method raises `Unavailable`. Times are in whole seconds."""

    async def leased(self, token: str, limit: timedelta) -> LeasedToken | None:
        """Return *token*; its `latest` end is *limit* after its creation, or its own end if that is later."""

    async def hold(self, token: LeasedToken, name: str, until: datetime, *, is_new: bool) -> Held:
        """Hold the lease *name* of *token* until *until*; only a new one, or only one that exists and has not ended."""

    async def release(self, token: LeasedToken, name: str) -> Held: ...

    async def claim(self, count: int, seconds: float) -> Sequence[str]:
        """Return tokens of runs that are due, and hide them from other gateways for *seconds*."""

    async def due_in(self, token: str, seconds: float) -> None: ...

    async def forget(self, token: str) -> None:
        """Look up the run of *token* no more."""

    async def run_of(self, token: str) -> str | None:
        """Return the workspace whose run holds *token*, as `gateway.platform.workspaces` names it."""


class TokenLeases:
    """The use case of clients: hold, renew and return a lease of a token that they know."""

    def __init__(
        self, leases: Leases, terms: LeaseTerms, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._leases = leases
        self._terms = terms
        self._now = now

    async def hold(self, token: str, lease_id: str | None = None) -> LeaseAnswer:
        """Hold a new lease of *token*, or renew the one with *lease_id*.

        Raises:
            NotFound: the token or the lease is unknown, or has ended.
            TooManyRequests: the token has 100 leases.
        """
        leased = await self._leased(token)
        until = min(self._now() + self._terms.step, leased.latest).replace(microsecond=0)
        name = lease_id or _PREFIX + secrets.token_hex(16)
        held = await self._leases.hold(leased, _stored(name), until, is_new=lease_id is None)
        if held.is_full:
            raise TooManyRequests(f"token {token} has {MAX_LEASES} leases, the limit", retry_after=60)
        if held.end is None:
            raise NotFound("the token or its lease has ended, or was never held")
        return LeaseAnswer(lease_id=name, expiration=until, token_expiration=held.end, latest_expiration=leased.latest)

    async def give_back(self, token: str, lease_id: str) -> ReturnedLease:
        """Return the lease with *lease_id*; the token lives until its own end, or that of its last other lease.

        Raises:
            NotFound: the token or the lease is unknown, or has ended.
        """
        released = await self._leases.release(await self._leased(token), _stored(lease_id))
        if released.end is None:
            raise NotFound("the token or its lease has ended, or was never held")
        return ReturnedLease(token_expiration=released.end)

    async def _leased(self, token: str) -> LeasedToken:
        if (leased := await self._leases.leased(token, self._terms.limit)) is None:
            raise NotFound(f"no record for token {token}")
        return leased


def _stored(lease_id: str) -> str:
    """The name under which a lease is stored: a hash, so that readers of the store cannot return leases."""
    return "client:" + hashlib.sha256(lease_id.encode()).hexdigest()[:40]
