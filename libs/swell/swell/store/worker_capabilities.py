"""What builders' machines lack to run the steps of builds: each builder tells, now and then."""

from collections.abc import Mapping
from datetime import timedelta

import msgspec
from redis.asyncio import Redis

from swell.store import scripts
from swell.store.redis import text, translated

_TOLD = "swell:machines"
LIFE = timedelta(minutes=2)


class WorkerCapabilities:
    """Builders whose machines lack the same are one; what nobody has told for *life* is forgotten."""

    def __init__(self, redis: Redis, life: timedelta = LIFE) -> None:
        self._tell = redis.register_script(scripts.TELL_MACHINE)
        self._told = redis.register_script(scripts.TOLD_MACHINES)
        self._life = life.total_seconds()

    async def tell(self, lacking: Mapping[str, str]) -> None:
        """A builder's machine runs all architectures but those in *lacking*, which says in words what each needs."""
        with translated():
            await self._tell([_TOLD], [msgspec.json.encode(lacking, order="sorted"), self._life])

    async def told(self) -> list[dict[str, str]]:
        """What each kind of machine lacks, at most a hundred of them; nothing when no builder has told."""
        with translated():
            found = await self._told([_TOLD])
        return [msgspec.json.decode(text(each), type=dict[str, str]) for each in found]
