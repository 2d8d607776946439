"""Check that a principal may read a blob in a repository before serving bytes that were stored for another request.

The check is a HEAD request to the registry. Stored bytes are keyed by the registry that sent them, so only that
registry's response grants access to them.

Source: OCI distribution-spec, "Checking if content exists in the registry",
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#checking-if-content-exists-in-the-registry
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol, Self

from cachetools import LRUCache

from registry_proxy.domain.link import Link, Scope
from swell.concurrency.single_flight import SingleFlight
from swell.errors import BlobUnknown, Denied, TooManyRequests, Unavailable, UpstreamFailed
from swell.log import log
from swell.oci.digest import Digest
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal

PROVEN_SECONDS = 300.0
PROOFS = 100_000


class Upstream(Protocol):
    def acting_for(self, principal: Principal) -> Self: ...

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None:
        """Check that the registry serves the blob, without fetching it; return its size in bytes if known.

        Raises:
            BlobUnknown, Denied: the registry does not serve it.
        """


class UsersKeyring(Protocol):
    async def load(self, reference: Reference, principal: Principal) -> object:
        """Look up the credentials of the owners in *principal*; raises `Denied` if their access was withdrawn."""


class Proofs(Protocol):
    """The time of the last successful access check per scope key, shared by all replicas. Never raises."""

    async def get(self, key: str) -> float | None:
        """Seconds since the epoch."""

    async def put(self, key: str, proven: float) -> None: ...

    async def drop(self, key: str) -> None: ...


class Access:
    """A successful check is valid for five minutes, and for *stale_age* while the registry is unavailable.

    Concurrent checks of one scope share one request; it is cancelled when its last caller disconnects.
    """

    def __init__(
        self,
        upstream: Upstream,
        proofs: Proofs,
        stale_age: timedelta = timedelta(days=1),
        now: Callable[[], float] = time.time,
        users: UsersKeyring | None = None,
    ) -> None:
        self._users = users
        self._upstream = upstream
        self._proofs = proofs
        self._stale_seconds = stale_age.total_seconds()
        self._now = now
        self._proven: LRUCache[Scope, float] = LRUCache(PROOFS)
        self._checks: SingleFlight[tuple[Scope, int], None] = SingleFlight(kept=False)

    async def prove(self, link: Link) -> None:
        """Return if the principal of *link* may read its blob in its repository.

        Raises:
            BlobUnknown, Denied: it may not.
            UpstreamFailed, TooManyRequests: the registry does not respond, and the last check is too old.
        """
        if self._users:
            await self._users.load(link.reference, link.principal)
        if not self._is_recent(self._proven.get(link.scope), PROVEN_SECONDS):
            await self._checks.run((link.scope, link.size), lambda: self._check(link))

    async def remember(self, link: Link) -> None:
        """Record access: the registry has just sent the blob's bytes for *link*."""
        now = self._now()
        self._proven[link.scope] = now
        await self._proofs.put(link.scope.key, now)

    async def _check(self, link: Link) -> None:
        proven = await self._proofs.get(link.scope.key)
        if proven is not None and self._is_recent(proven, PROVEN_SECONDS):
            self._proven[link.scope] = proven
            return
        try:
            size = await self._upstream.acting_for(link.principal).head_blob(link.reference, link.digest)
        except (BlobUnknown, Denied):
            self._proven.pop(link.scope, None)
            await self._proofs.drop(link.scope.key)
            raise
        except (UpstreamFailed, TooManyRequests, Unavailable) as error:
            if not self._is_recent(proven, self._stale_seconds):
                raise
            log.warning("blob served on an older access check", digest=link.digest, error=str(error))
            return
        if size not in {None, link.size}:
            raise UpstreamFailed(f"{link.digest} has {size} bytes; the manifest says {link.size}")
        await self.remember(link)

    def _is_recent(self, proven: float | None, seconds: float) -> bool:
        return proven is not None and self._now() - proven <= seconds
