"""Leases in Redis: what one process has for itself, until it gives it back or has been gone for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta

from redis.asyncio import Redis
from redis.asyncio.lock import Lock

from swell.errors import Unavailable
from swell.log import log
from swell.store.redis import translated

LOOK_AGAIN = 0.05  # seconds, while another holds the lease


class Leases:
    """A lease that is not renewed is void after *term*, so that what a dead process held is free soon."""

    def __init__(self, redis: Redis, term: timedelta) -> None:
        self._redis = redis
        self._term = term.total_seconds()

    async def take(self, key: str, patience: timedelta = timedelta(0)) -> AbstractAsyncContextManager[None] | None:
        """Take the lease of *key*, waiting for it as long as *patience*; None when somebody else has it still.

        It is renewed in the block of what is answered, and given back behind that.

        Raises:
            Unavailable: Redis does not answer.
        """
        lock = self._redis.lock(key, timeout=self._term, sleep=LOOK_AGAIN, blocking=bool(patience))
        with translated():
            is_ours = await lock.acquire(blocking_timeout=patience.total_seconds())
        return self._held(lock) if is_ours else None

    @asynccontextmanager
    async def _held(self, lock: Lock) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._renew(lock))
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(Unavailable), translated():  # it is void by itself, soon
                await lock.release()

    async def _renew(self, lock: Lock) -> None:
        task = asyncio.current_task()
        while not (task and task.cancelling()):  # Redis's client may swallow a cancellation
            await asyncio.sleep(self._term / 3)
            try:
                with translated():
                    await lock.reacquire()
            except Unavailable as error:
                log.warning("lease not renewed", key=lock.name, error=str(error))
