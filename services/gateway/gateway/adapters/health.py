"""Whether the services that the gateway depends on work: Redis and NATS."""

import asyncio

from redis.asyncio import Redis

from swell.concurrency.single_flight import SingleFlight
from swell.errors import Unavailable
from swell.jobs.streams import EVENTS, JOBS, Nats, created
from swell.store.engines import EngineNames
from swell.store.redis import translated

TIMEOUT = 3.0  # seconds; shorter than the probes of most orchestrators


class Backends:
    def __init__(self, redis: Redis, nats: Nats) -> None:
        self._redis = redis
        self._nats = nats
        self._engines = EngineNames(redis)
        self._checks: SingleFlight[str, None] = SingleFlight()

    async def check(self) -> None:
        """Check that Redis answers, and that NATS has the streams of jobs and events; missing streams are created.

        Raises:
            Unavailable: one of them does not work, or does not answer within 3 s.
        """
        await self._checks.run("", self._check)

    async def _check(self) -> None:
        if not self._nats.client.is_connected:
            raise Unavailable("the message queue does not answer")
        try:
            async with asyncio.timeout(TIMEOUT):
                with translated():
                    await self._redis.ping()
                for stream in (JOBS, EVENTS):
                    await created(self._nats.stream, stream)
        except TimeoutError as error:
            raise Unavailable(f"a backend does not answer within {TIMEOUT:.0f} s") from error

    async def engines(self) -> list[str]:
        """The engines that the running builders use for container files, such as `buildkit 0.34.2`."""
        return await self._engines.names()
