"""The work queue, and whether what the gateway stands on is there."""

from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.jobs.messages import BuildCancelled, BuildDone, BuildJob, IndexJob, Message, TokenRevoked
from swell.jobs.publish import is_queued, publish
from swell.jobs.streams import Nats
from swell.log import log
from swell.store.engines import EngineNames
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


class BuildNews:
    """Words about builds. What they say is stored before; one that gets lost is looked up by whoever waits for it."""

    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def unwanted(self, build_id: str) -> None:
        await self._say(BuildCancelled(id=build_id))

    async def ended(self, event: BuildDone) -> None:
        await self._say(event)

    async def _say(self, message: Message) -> None:
        try:
            await publish(self._nats.stream, message)
        except Unavailable as error:
            log.warning("a word about a build was lost", subject=message.subject, id=message.id, error=str(error))


class Backends:
    def __init__(self, redis: Redis, nats: Nats) -> None:
        self._redis = redis
        self._nats = nats
        self._engines = EngineNames(redis)

    async def check(self) -> None:
        with translated():
            await self._redis.ping()
        if not self._nats.client.is_connected:
            raise Unavailable("the message queue does not answer")

    async def engines(self) -> list[str]:
        return await self._engines.names()
