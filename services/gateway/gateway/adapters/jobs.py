"""The work queue, and whether what the gateway stands on is there."""

from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.jobs.messages import BuildJob, IndexJob, TokenRevoked
from swell.jobs.publish import is_queued, publish
from swell.jobs.streams import Nats
from swell.store.redis import translated


class JobQueue:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def put(self, job: BuildJob | IndexJob) -> None:
        await publish(self._nats.stream, job)

    async def has(self, build_id: str) -> bool:
        stream = self._nats.stream
        return await is_queued(stream, BuildJob, build_id) or await is_queued(stream, IndexJob, build_id)


class RevocationNews:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def revoked(self, token: str) -> None:
        await publish(self._nats.stream, TokenRevoked(id=token))


class Backends:
    def __init__(self, redis: Redis, nats: Nats) -> None:
        self._redis = redis
        self._nats = nats

    async def check(self) -> None:
        with translated():
            await self._redis.ping()
        if not self._nats.client.is_connected:
            raise Unavailable("the message queue does not answer")
