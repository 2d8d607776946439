"""What is stored: memory of Redis, streams, objects, and the disks of workers; and the registries that were used."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import asdict

from gateway.operate.pages import page_of
from swell.api.operator import (
    ObjectsUse,
    SeenRegistry,
    SeenRegistryPage,
    StateUse,
    StorageUse,
    StreamUse,
    Worker,
    WorkerCache,
    WorkerDisk,
)


class Backends(Protocol):
    """Raises `Unavailable` when a backend does not answer."""

    async def state(self) -> StateUse: ...

    async def streams(self) -> Sequence[StreamUse]: ...

    async def objects(self) -> Sequence[ObjectsUse]: ...


class Workers(Protocol):
    async def all(self) -> Sequence[Worker]: ...


class Registries(Protocol):
    async def all(self) -> Sequence[SeenRegistry]:
        """Return the registries by name."""


class StorageQueries:
    def __init__(self, backends: Backends, workers: Workers, registries: Registries) -> None:
        self._backends = backends
        self._workers = workers
        self._registries = registries

    async def use(self) -> StorageUse:
        """What all backends and the workers store."""
        state, streams, objects, workers = await asyncio.gather(
            self._backends.state(), self._backends.streams(), self._backends.objects(), self._workers.all()
        )
        return StorageUse(
            state=state,
            streams=tuple(streams),
            objects=tuple(objects),
            disks=tuple(WorkerDisk(worker=each.id, **asdict(disk)) for each in workers for disk in each.disks),
            caches=tuple(WorkerCache(worker=each.id, **asdict(cache)) for each in workers for cache in each.caches),
        )

    async def registries(self, cursor: str | None, limit: int | None) -> SeenRegistryPage:
        """The registries that have answered, by name; raises `BadRequest` for wrong parameters."""
        page, following = page_of(await self._registries.all(), lambda each: each.registry, cursor, limit)
        return SeenRegistryPage(registries=page, next=following)
