"""Leases in Redis: exclusive access for one process, which expires when the process stops renewing it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta

from redis.asyncio import Redis
from redis.asyncio.lock import Lock

from swell.concurrency.periodic import running_every
from swell.errors import Unavailable
from swell.store.connections.redis import translated

POLL_SECONDS = 0.05
"""Between two attempts to take a lease that another process holds."""


class Leases:
    """A lease expires *term* after its last renewal, so the lease of a crashed process is free soon."""

    def __init__(self, redis: Redis, term: timedelta) -> None:
        self._redis = redis
        self._term = term

    async def take(self, key: str, time_limit: timedelta = timedelta(0)) -> AbstractAsyncContextManager[None] | None:
        """Take the lease of *key*; None when another process still holds it after *time_limit*.

        The returned context manager renews the lease, and releases it at the end.

        Raises:
            Unavailable: Redis does not answer.
        """
        lock = self._redis.lock(key, timeout=self._term.total_seconds(), sleep=POLL_SECONDS, blocking=bool(time_limit))
        with translated():
            is_taken = await lock.acquire(blocking_timeout=time_limit.total_seconds())
        return self._hold(lock) if is_taken else None

    @asynccontextmanager
    async def _hold(self, lock: Lock) -> AsyncIterator[None]:
        async def renew() -> None:
            with translated():
                await lock.reacquire()

        try:
            async with running_every(self._term / 3, renew, event="lease not renewed", first=False):
                yield
        finally:
            with suppress(Unavailable), translated():  # without a release, the lease expires
                await lock.release()
