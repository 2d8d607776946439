"""What builders build container files with: each publishes the name and version of its engine now and then."""

from datetime import timedelta

from redis.asyncio import Redis

from swell.store import scripts
from swell.store.redis import text, translated

_KEY = "swell:engines"
LIFE = timedelta(minutes=2)


class EngineNames:
    """EngineNames that no builder has published for *life* are forgotten."""

    def __init__(self, redis: Redis, life: timedelta = LIFE) -> None:
        self._publish = redis.register_script(scripts.TELL_MACHINE)
        self._names = redis.register_script(scripts.TOLD_MACHINES)
        self._life = life.total_seconds()

    async def publish(self, name: str) -> None:
        """A builder builds with the engine *name* (`buildkit 0.34.2`).

        Raises:
            Unavailable: Redis does not answer.
        """
        with translated():
            await self._publish([_KEY], [name, self._life])

    async def names(self) -> list[str]:
        """The engines of all builders, each once; at most a hundred.

        Raises:
            Unavailable: Redis does not answer.
        """
        with translated():
            found = await self._names([_KEY])
        return sorted(text(each) for each in found)
