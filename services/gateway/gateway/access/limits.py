"""Limits: nobody can take so much that nothing is left for others.

A build costs one question to the state store. A pull must not: each process takes permits for pulls in blocks and
hands them out itself. What is taken is counted, so there is never a pull that was not; but with several gateways a
client may be refused by one while another still holds a block, a twentieth of the quota, for it.
"""

import time
from collections.abc import Callable
from math import ceil
from typing import Protocol

from cachetools import LRUCache

from gateway.domain.quota import Client, Kind, Quota, Quotas, Taken
from swell.concurrency.single_flight import SingleFlight
from swell.errors import TooManyRequests, Unavailable
from swell.log import log

_LOOK_AGAIN = 1.0  # seconds; how long a store that was away is not asked


class LimitExceeded(TooManyRequests):
    """This client has had all that it may have for now; *reset* is in seconds, as `retry_after` is."""

    def __init__(self, kind: Kind, client: Client, quota: Quota, taken: Taken) -> None:
        wait = max(1, ceil(taken.wait))
        super().__init__(
            f"the {kind} limit of {quota} for {client} is used up, try again in {wait} s", retry_after=wait
        )
        self.limit = quota.permits
        self.reset = max(wait, ceil(taken.reset))


class Buckets(Protocol):
    async def take(self, kind: Kind, client: Client, quota: Quota, wanted: int) -> Taken:
        """Take at most *wanted* permits, in one step whoever else takes some; a negative number gives them back.

        Raises:
            Unavailable: there is no answer in time; perhaps they are taken.
        """


class _Lease:
    """The permits that this process holds for a client; when the store has none, it is not asked until *closed*."""

    def __init__(self) -> None:
        self.permits = 0
        self.closed = self.full = 0.0


class Limits:
    """When the store of the buckets is away, *fail_open* lets everybody through, and otherwise nobody.

    Permits are held for the last *size* clients; those of a client that is forgotten count as used.
    """

    def __init__(
        self,
        buckets: Buckets,
        quotas: Quotas,
        *,
        fail_open: bool,
        clock: Callable[[], float] = time.monotonic,
        size: int = 50_000,
    ) -> None:
        self._buckets = buckets
        self._quotas = quotas
        self._fail_open = fail_open
        self._clock = clock
        self._away_until = 0.0
        self._leases: LRUCache[tuple[Kind, Client], _Lease] = LRUCache(size)
        self._refills: SingleFlight[tuple[Kind, Client], None] = SingleFlight()

    async def take_build(self, user: str, address: str) -> None:
        """Count a build that is about to be queued for *user*, or for *address* when *user* is empty.

        Raises:
            LimitExceeded: there are no more for now.
            Unavailable: nobody can tell, and then the answer is no.
        """
        client = _paying(user, address)
        if quota := self._quotas.of(Kind.BUILD, client):
            taken = await self._take(Kind.BUILD, client, quota, 1)
            if not taken.granted:
                raise LimitExceeded(Kind.BUILD, client, quota, taken)

    async def return_build(self, user: str, address: str) -> None:
        """Give back what `take_build` took: the build was under way already."""
        client = _paying(user, address)
        if quota := self._quotas.of(Kind.BUILD, client):
            try:
                await self._buckets.take(Kind.BUILD, client, quota, -1)
            except Unavailable as error:
                log.warning("a build stays counted that was not queued", client=str(client), error=str(error))

    async def take_pull(self, user: str, address: str) -> None:
        """Count a manifest that is about to be sent; mostly without waiting for anybody.

        Raises:
            LimitExceeded: there are no more for now.
            Unavailable: nobody can tell, and then the answer is no.
        """
        await self._take_held(Kind.PULL, _paying(user, address))

    async def take_token(self, user: str, address: str) -> None:
        """Count a token that is about to be given to *user*, or to *address*; usually without a call.

        The quota's period is the life of a token: so many, and at most twice as many, of a client's tokens are live.

        Raises:
            LimitExceeded: there are no more for now.
            Unavailable: they cannot be counted, and then the answer is no.
        """
        await self._take_held(Kind.TOKEN, _paying(user, address))

    def return_token(self, user: str, address: str) -> None:
        """Give back what `take_token` took: the request was refused, and no token was given."""
        if lease := self._leases.get((Kind.TOKEN, _paying(user, address))):
            lease.permits += 1

    async def _take_held(self, kind: Kind, client: Client) -> None:
        """Take one of the permits that this process holds for *client*; it gets some more when there are none."""
        if (quota := self._quotas.of(kind, client)) is None:
            return
        if (lease := self._leases.get((kind, client))) is None:
            lease = self._leases[kind, client] = _Lease()
        while not lease.permits:
            now = self._clock()
            if now < lease.closed:
                raise LimitExceeded(kind, client, quota, Taken(0, lease.closed - now, lease.full - now))
            await self._refills.run((kind, client), lambda: self._refill(kind, client, lease, quota))
        lease.permits -= 1

    async def _refill(self, kind: Kind, client: Client, lease: _Lease, quota: Quota) -> None:
        taken = await self._take(kind, client, quota, quota.block)
        lease.permits += taken.granted
        if not taken.granted:
            now = self._clock()
            lease.closed, lease.full = now + taken.wait, now + taken.reset

    async def _take(self, kind: Kind, client: Client, quota: Quota, wanted: int) -> Taken:
        try:
            if self._clock() < self._away_until:
                raise Unavailable("the state store does not answer")
            return await self._buckets.take(kind, client, quota, wanted)
        except Unavailable as error:
            if self._clock() >= self._away_until:
                log.warning("limits cannot be counted", fail_open=self._fail_open, error=str(error))
                self._away_until = self._clock() + _LOOK_AGAIN
            if self._fail_open:
                return Taken(wanted)
            raise


def _paying(user: str, address: str) -> Client:
    return Client(user, "" if user else address)
