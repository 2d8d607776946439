"""What workers cannot run: each builder regularly publishes the architectures that its machine cannot run steps for."""

from collections.abc import Mapping
from datetime import timedelta

import msgspec
from redis.asyncio import Redis

from swell.store import keys
from swell.store.workers.expiring_set import ExpiringSet

LIFE = timedelta(minutes=2)


class WorkerCapabilities:
    """Capabilities expire *life* after they were last published; equal ones are stored once.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis, life: timedelta = LIFE) -> None:
        self._published = ExpiringSet(redis, keys.WORKER_CAPABILITIES, life)

    async def publish(self, missing: Mapping[str, str]) -> None:
        """Publish the architectures that a machine cannot run, each with a sentence that says what is missing."""
        await self._published.add(msgspec.json.encode(missing, order="sorted"))

    async def all(self) -> list[dict[str, str]]:
        """Return what each kind of machine is missing, at most 100 kinds; empty when no builder has published."""
        return [msgspec.json.decode(entry, type=dict[str, str]) for entry in await self._published.entries()]
