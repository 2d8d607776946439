"""The registries that have answered this server: the registry-proxy records them for the operator."""

import time
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from redis.asyncio import Redis

from swell.api.operator import SeenRegistry
from swell.store import keys
from swell.store.connections.redis import text, translated

MAX_REGISTRIES = 1000


class SeenRegistries:
    """The registries that answered last, at most 1,000; they are written by `flush`, so that a pull does not wait.

    Raises:
        Unavailable: `flush` and `all`, when Redis does not answer.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._new: dict[str, float] = {}

    def add(self, registry: str) -> None:
        """Record that *registry* has answered."""
        if registry in self._new or len(self._new) < MAX_REGISTRIES:
            self._new[registry] = time.time()

    async def flush(self) -> None:
        """Write what was recorded since the last call."""
        if not (new := self._new):
            return
        self._new = {}
        try:
            with translated():
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.zadd(keys.REGISTRIES, dict(islice(new.items(), MAX_REGISTRIES)))
                    pipe.zremrangebyrank(keys.REGISTRIES, 0, -MAX_REGISTRIES - 1)
                    await pipe.execute()
        except BaseException:
            self._new = new | self._new
            raise

    async def all(self) -> list[SeenRegistry]:
        """Return the registries by name."""
        with translated():
            stored: Any = await self._redis.zrange(keys.REGISTRIES, 0, MAX_REGISTRIES - 1, withscores=True)
        seen = ((text(name), datetime.fromtimestamp(score, UTC)) for name, score in stored)
        return [SeenRegistry(registry=name, last_used=moment) for name, moment in sorted(seen)]
