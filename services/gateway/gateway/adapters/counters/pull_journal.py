"""Events of pulls that NATS has not confirmed yet, in Redis: after a crash, another gateway publishes them."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import TypeVar

import msgspec
from redis.asyncio import Redis

from swell.concurrency.tasks import TaskOwner
from swell.jobs.messages import ImagesPulled
from swell.store import keys
from swell.store.connections.redis import text, translated

T = TypeVar("T")

LEFT = timedelta(minutes=1)  # after this time, the gateway of an event has crashed, or cannot publish
MOST = 100  # events that are read at a time


class PullJournal:
    """Each method raises `Unavailable` when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._tasks = TaskOwner()

    async def add(self, events: Sequence[ImagesPulled]) -> None:
        """Store *events* until they are removed."""
        now = time.time()
        members = {msgspec.json.encode(event): now for event in events}
        await self._finish(self._redis.zadd(keys.UNPUBLISHED_PULLS, members))

    async def remove(self, event: ImagesPulled) -> None:
        """Remove *event*, which is published."""
        await self._finish(self._redis.zrem(keys.UNPUBLISHED_PULLS, msgspec.json.encode(event)))

    async def left(self) -> list[ImagesPulled]:
        """Return events that were stored more than a minute ago, at most 100.

        Several gateways may publish one of them: its id is counted once.
        """
        until = time.time() - LEFT.total_seconds()
        stored = await self._finish(self._redis.zrangebyscore(keys.UNPUBLISHED_PULLS, "-inf", until, start=0, num=MOST))
        return [msgspec.json.decode(text(event), type=ImagesPulled) for event in stored]

    async def _finish(self, request: Awaitable[T]) -> T:
        """Return the reply to *request*, which runs to its end if its caller is cancelled: the client may lose that."""

        async def ask() -> T:
            with translated():
                return await request

        task = self._tasks.start(ask())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.gather(task, return_exceptions=True)
            raise
