"""Whether the services that the gateway depends on respond: Redis and NATS."""

from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.jobs.streams import Nats
from swell.store.engines import EngineNames
from swell.store.redis import translated


class Backends:
    def __init__(self, redis: Redis, nats: Nats) -> None:
        self._redis = redis
        self._nats = nats
        self._engines = EngineNames(redis)

    async def check(self) -> None:
        """Ping Redis, and check the connection to NATS.

        Raises:
            Unavailable: one of them does not respond.
        """
        with translated():
            await self._redis.ping()
        if not self._nats.client.is_connected:
            raise Unavailable("the message queue does not answer")

    async def engines(self) -> list[str]:
        """The engines that the running builders use for container files, such as `buildkit 0.34.2`."""
        return await self._engines.names()
