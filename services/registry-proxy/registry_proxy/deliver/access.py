"""Proof that a principal may read a blob in a repository, before bytes are served that were stored for others.

The registry itself is asked, with HEAD. Stored bytes are found by the registry that sent them, so its answer counts: it
speaks of its own content, and another registry's word opens nothing of it.
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
from swell.registry.principal import Principal

PROVEN_SECONDS = 300.0
PROOFS = 100_000


class Upstream(Protocol):
    def acting_for(self, principal: Principal) -> Self: ...

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None:
        """See that the registry shows the blob, without fetching it; its size, if the registry says it.

        Raises:
            BlobUnknown, Denied: it does not.
        """


class Proofs(Protocol):
    """When access was proven last, by the keys of scopes, for all replicas. Never raises."""

    async def get(self, key: str) -> float | None:
        """Seconds since the epoch."""

    async def put(self, key: str, proven: float) -> None: ...

    async def drop(self, key: str) -> None: ...


class Access:
    """A proof counts for five minutes, and for *stale_age* while the registry is in trouble.

    Identical questions at one time are one; it is cancelled when its last caller has gone.
    """

    def __init__(
        self,
        upstream: Upstream,
        proofs: Proofs,
        stale_age: timedelta = timedelta(days=1),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._upstream = upstream
        self._proofs = proofs
        self._stale_seconds = stale_age.total_seconds()
        self._now = now
        self._proven: LRUCache[Scope, float] = LRUCache(PROOFS)
        self._asking: SingleFlight[tuple[Scope, int], None] = SingleFlight(kept=False)

    async def prove(self, link: Link) -> None:
        """Return when the principal of *link* may read its blob in its repository.

        Raises:
            BlobUnknown, Denied: it may not.
            UpstreamFailed, TooManyRequests: the registry does not say so, and has not for too long.
        """
        if not self._is_young(self._proven.get(link.scope), PROVEN_SECONDS):
            await self._asking.run((link.scope, link.size), lambda: self._ask(link))

    async def remember(self, link: Link) -> None:
        """Count the blob's bytes, which the registry has just sent for *link*, as a proof."""
        now = self._now()
        self._proven[link.scope] = now
        await self._proofs.put(link.scope.key, now)

    async def _ask(self, link: Link) -> None:
        proven = await self._proofs.get(link.scope.key)
        if proven is not None and self._is_young(proven, PROVEN_SECONDS):
            self._proven[link.scope] = proven
            return
        try:
            size = await self._upstream.acting_for(link.principal).head_blob(link.reference, link.digest)
        except (BlobUnknown, Denied):
            self._proven.pop(link.scope, None)
            await self._proofs.drop(link.scope.key)
            raise
        except (UpstreamFailed, TooManyRequests, Unavailable) as error:
            if not self._is_young(proven, self._stale_seconds):
                raise
            log.warning("blob served on an older proof of access", digest=link.digest, error=str(error))
            return
        if size not in {None, link.size}:
            raise UpstreamFailed(f"{link.digest} has {size} bytes, not {link.size} as the manifest says")
        await self.remember(link)

    def _is_young(self, proven: float | None, seconds: float) -> bool:
        return proven is not None and self._now() - proven <= seconds
