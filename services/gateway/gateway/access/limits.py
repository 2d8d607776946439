"""Rate limits for builds, pulls and tokens, per user or client address.

Taking a build permit is one call to the state store. Taking a pull permit is usually no call: each process takes pull
permits in blocks of a twentieth of the quota and serves pulls from its block. So every pull is counted, but one of
several gateways may refuse a client while another one still holds a block for it.
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

_RETRY_SECONDS = 1.0  # after a failure, the store is not called for so long


class LimitExceeded(TooManyRequests):
    """The quota is used up; one permit is free in `retry_after` seconds, all in `reset` seconds."""

    def __init__(self, kind: Kind, client: Client, quota: Quota, taken: Taken) -> None:
        wait = max(1, ceil(taken.wait))
        super().__init__(
            f"the {kind} limit of {quota} for {client} is used up, try again in {wait} s", retry_after=wait
        )
        self.limit = quota.permits
        self.reset = max(wait, ceil(taken.reset))


class Buckets(Protocol):
    async def take(self, kind: Kind, client: Client, quota: Quota, wanted: int) -> Taken:
        """Take at most *wanted* permits atomically; a negative number returns permits.

        Raises:
            Unavailable: no response in time; the permits may have been taken.
        """


class _Block:
    """The permits that this process holds for a client.

    When the store had none, it is called again at `closed_until`; the quota is full again at `full_at`.
    """

    def __init__(self) -> None:
        self.permits = 0
        self.closed_until = self.full_at = 0.0


class Limits:
    """Counts builds, pulls and tokens against *quotas*.

    While the state store does not respond, all requests are accepted (*fail_open*) or all are refused. Permits are
    held for the *size* most recent clients; the permits of an evicted client count as used.
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
        self._unavailable_until = 0.0
        self._blocks: LRUCache[tuple[Kind, Client], _Block] = LRUCache(size)
        self._refills: SingleFlight[tuple[Kind, Client], None] = SingleFlight()

    async def take_build(self, user: str, address: str) -> None:
        """Count a build before it is queued, for *user*, or for *address* when *user* is empty.

        Raises:
            LimitExceeded: the quota is used up.
            Unavailable: the store does not respond, and requests are refused then.
        """
        await self._take_one(Kind.BUILD, client_for(user, address))

    async def return_build(self, user: str, address: str) -> None:
        """Return the permit of `take_build`: the build was running already. A failure is logged."""
        await self._return_one(Kind.BUILD, client_for(user, address))

    async def take_scan(self, user: str, address: str) -> None:
        """Count a scan, as `take_build` counts a build."""
        await self._take_one(Kind.SCAN, client_for(user, address))

    async def return_scan(self, user: str, address: str) -> None:
        """Return the permit of `take_scan`: the image has a scan already. A failure is logged."""
        await self._return_one(Kind.SCAN, client_for(user, address))

    async def _take_one(self, kind: Kind, client: Client) -> None:
        if quota := self._quotas.of(kind, client):
            taken = await self._take(kind, client, quota, 1)
            if not taken.granted:
                raise LimitExceeded(kind, client, quota, taken)

    async def _return_one(self, kind: Kind, client: Client) -> None:
        if quota := self._quotas.of(kind, client):
            try:
                await self._buckets.take(kind, client, quota, -1)
            except Unavailable as error:
                log.warning("permit not returned", kind=kind, client=str(client), error=str(error))

    async def take_pull(self, user: str, address: str) -> None:
        """Count a manifest before it is sent; usually without a call to the store.

        Raises:
            LimitExceeded: the quota is used up.
            Unavailable: the store does not respond, and requests are refused then.
        """
        await self._take_from_block(Kind.PULL, client_for(user, address))

    def take_pull_at_once(self, user: str, address: str) -> bool:
        """Count a manifest if this process holds a permit; otherwise return False, and count nothing."""
        client = client_for(user, address)
        if self._quotas.of(Kind.PULL, client) is None:
            return True
        block = self._blocks.get((Kind.PULL, client))
        if block is None or not block.permits:
            return False
        block.permits -= 1
        return True

    async def take_token(self, user: str, address: str) -> None:
        """Count a token before it is issued to *user* or *address*; usually without a call to the store.

        The period of the quota is the lifetime of a token, so a client has at most twice the quota of live tokens.

        Raises:
            LimitExceeded: the quota is used up.
            Unavailable: the store does not respond, and requests are refused then.
        """
        await self._take_from_block(Kind.TOKEN, client_for(user, address))

    def return_token(self, user: str, address: str) -> None:
        """Return the permit of `take_token`: the request was refused, and no token was issued."""
        if block := self._blocks.get((Kind.TOKEN, client_for(user, address))):
            block.permits += 1

    async def _take_from_block(self, kind: Kind, client: Client) -> None:
        """Take a permit from the block of *client*, after refilling an empty block from the store."""
        if (quota := self._quotas.of(kind, client)) is None:
            return
        if (block := self._blocks.get((kind, client))) is None:
            block = self._blocks[kind, client] = _Block()
        while not block.permits:
            now = self._clock()
            if now < block.closed_until:
                raise LimitExceeded(kind, client, quota, Taken(0, block.closed_until - now, block.full_at - now))
            await self._refills.run((kind, client), lambda: self._refill(kind, client, block, quota))
        block.permits -= 1

    async def _refill(self, kind: Kind, client: Client, block: _Block, quota: Quota) -> None:
        taken = await self._take(kind, client, quota, quota.block)
        block.permits += taken.granted
        if not taken.granted:
            now = self._clock()
            block.closed_until, block.full_at = now + taken.wait, now + taken.reset

    async def _take(self, kind: Kind, client: Client, quota: Quota, wanted: int) -> Taken:
        try:
            if self._clock() < self._unavailable_until:
                raise Unavailable("the state store does not answer")
            return await self._buckets.take(kind, client, quota, wanted)
        except Unavailable as error:
            if self._clock() >= self._unavailable_until:
                log.warning("limits cannot be counted", fail_open=self._fail_open, error=str(error))
                self._unavailable_until = self._clock() + _RETRY_SECONDS
            if self._fail_open:
                return Taken(wanted)
            raise


def client_for(user: str, address: str) -> Client:
    """The client whose quota a request uses: the user's or, for anonymous requests, the address's."""
    return Client(user, "" if user else address)
