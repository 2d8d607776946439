"""Whose turn it is, among replicas: a key in Redis that ends soon after its holder does."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.log import log
from swell.store.redis import translated

LOOK_AGAIN = 0.05  # seconds; one in each replica looks, however many wait behind it

_RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2])"
_GIVE_BACK = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1])"


class RedisTurns:
    """A turn lasts as long as its block; *lease* after its holder has died it is somebody else's.

    Turns save work, they guard nothing: whoever has waited for *patience* goes ahead without.
    """

    def __init__(
        self, redis: Redis, lease: timedelta = timedelta(seconds=3), patience: timedelta = timedelta(seconds=45)
    ) -> None:
        self._redis = redis
        self._lease = lease
        self._patience = patience.total_seconds()
        self._renew = redis.register_script(_RENEW)
        self._give_back = redis.register_script(_GIVE_BACK)

    @asynccontextmanager
    async def take(self, key: str) -> AsyncIterator[None]:
        """Wait for the turn under *key*.

        Raises:
            Unavailable: Redis does not answer.
        """
        name, mine = f"swell:turn:{key}", uuid.uuid4().hex
        await self._wait(name, mine)
        holding = asyncio.create_task(self._hold(name, mine))
        try:
            yield
        finally:
            holding.cancel()
            with suppress(Unavailable), translated():
                await self._give_back([name], [mine])

    async def _wait(self, name: str, mine: str) -> None:
        try:
            async with asyncio.timeout(self._patience):
                while not await self._is_free(name, mine):  # noqa: ASYNC110  the key is in another process
                    await asyncio.sleep(LOOK_AGAIN)
        except TimeoutError:
            log.warning("went ahead out of turn", key=name)

    async def _is_free(self, name: str, mine: str) -> bool:
        with translated():
            return bool(await self._redis.set(name, mine, nx=True, px=self._lease))

    async def _hold(self, name: str, mine: str) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            with suppress(Unavailable), translated():
                await self._renew([name], [mine, int(self._lease.total_seconds() * 1000)])
