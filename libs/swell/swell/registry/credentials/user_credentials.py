"""Credentials that belong to users and their workspaces, which the gateway looks up for a principal.

A principal names their owners (`swell.registry.credentials.principal.with_owners`), never the credentials. So a
credential that is withdrawn stops working within 30 s, also for tokens and jobs that exist already; one of a vault of
this server within a second.
"""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from cachetools import TTLCache

from swell.concurrency.single_flight import SingleFlight
from swell.oci.reference import Reference
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import Principal, has_owners

FRESH_SECONDS = 20.0
"""After that, the next request looks the credentials up again."""
VAULT_FRESH_SECONDS = 0.5
"""The same, for principals with owners of vaults: their credentials are near, and are deleted at once."""
USABLE_SECONDS = 30.0
"""A request that has begun may use them for so long."""
MOST = 10_000

Find = Callable[[Principal, Reference], Awaitable[Credentials | None]]
"""Look up the credentials of the owners in a principal for a repository; None if they have none.

Raises:
    Denied: an owner's access was withdrawn.
    Unavailable: the gateway, or the place where they are stored, does not answer.
"""


class _Known(NamedTuple):
    credentials: Credentials | None
    since: float


class UserCredentials:
    """Looks credentials up with *find*, and caches the results, also negative ones, by principal and repository."""

    def __init__(self, find: Find, now: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self._now = now
        self._cached: TTLCache[tuple[Principal, str], _Known] = TTLCache(MOST, USABLE_SECONDS, now)
        self._finding: SingleFlight[tuple[Principal, str], None] = SingleFlight()

    async def load(self, reference: Reference, principal: Principal) -> Credentials | None:
        """Return the credentials for *reference*, at most 20 s old; `known` then returns them for some seconds more.

        Raises:
            Denied, Unavailable: see `Find`.
        """
        if not has_owners(principal):
            return None
        key = principal, reference.name
        known = self._cached.get(key)
        fresh = VAULT_FRESH_SECONDS if "vault:" in principal else FRESH_SECONDS
        if known is None or self._now() - known.since > fresh:
            await self._finding.run(key, lambda: self._load(reference, principal))
        return self.known(reference, principal)

    def known(self, reference: Reference, principal: Principal) -> Credentials | None:
        """Return the credentials that `load` has found within the last 30 s."""
        known = self._cached.get((principal, reference.name)) if has_owners(principal) else None
        return known.credentials if known else None

    async def _load(self, reference: Reference, principal: Principal) -> None:
        key, since = (principal, reference.name), self._now()
        try:
            self._cached[key] = _Known(await self._find(principal, reference), since)
        except BaseException:
            self._cached.pop(key, None)
            raise
