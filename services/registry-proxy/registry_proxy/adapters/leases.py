"""Whose turn it is, among replicas: a lease in Redis that ends soon after its holder does."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta

from redis.asyncio import Redis

from swell.log import log
from swell.store import keys
from swell.store.leases import Leases


class RedisLeases:
    """A turn lasts as long as its block; *lease* after its holder has died it is somebody else's.

    Leases save work, they guard nothing: whoever has waited for *patience* goes ahead without.
    """

    def __init__(
        self, redis: Redis, lease: timedelta = timedelta(seconds=3), patience: timedelta = timedelta(seconds=45)
    ) -> None:
        self._leases = Leases(redis, lease)
        self._patience = patience

    @asynccontextmanager
    async def take(self, key: str) -> AsyncIterator[None]:
        """Wait for the turn under *key*.

        Raises:
            Unavailable: Redis does not answer.
        """
        name = hashlib.sha256(key.encode()).hexdigest()[:32]  # there are tokens in keys, which no log may have
        if (turn := await self._leases.take(keys.augmentation_lease(name), self._patience)) is None:
            log.warning("went ahead out of turn", turn=name)
        async with turn or nullcontext():
            yield
