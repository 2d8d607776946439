"""Stores of base images that builds share read-only, so that a layer is downloaded once.

They only cache bytes. Each build requests the manifests of its images from the registry with its own credentials, and
reads from a store only the layers in them. A store has one image for one platform, pulled with the credentials of one
principal. A build sees only the stores of its own images.
"""

import asyncio
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from cachetools import TTLCache
from msgspec import Struct

from builder.settings import EngineSettings
from swell.log import log
from swell_sandbox.workspace import remove

_MOST_NAMES = 4096


class Generation(Struct, frozen=True):
    """Stores that are evicted together."""

    path: Path

    def store(self, image: str, platform: str, principal: str) -> Path:
        """Return the directory of *image* for *platform*, pulled with the credentials of *principal*."""
        return self.path / hashlib.sha256("\n".join((principal, platform, image)).encode()).hexdigest()[:32]


class BaseImages:
    """Stores in generations, of which the newest is used.

    When the disk is nearly full, a new, empty generation begins. The old one is removed after its last build.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._directory = settings.workspace / "bases"
        self._min_free = settings.base_cache_free
        self._owner = settings.first_user_id
        self._number = self._last_number()
        self._users: Counter[Path] = Counter()
        self._fetched: TTLCache[Path, bool] = TTLCache(_MOST_NAMES, settings.base_cache_age.total_seconds())
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._make_newest()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Generation]:
        """Yield the newest generation, which is not removed for the length of the block."""
        if shutil.disk_usage(self._directory).free < self._min_free:
            await self._begin_another()
        generation = self._newest
        self._users[generation] += 1
        try:
            yield Generation(generation)
        finally:
            self._users[generation] -= 1
            await self._remove_unused()

    async def fetch(self, store: Path, pull: Callable[[], Awaitable[bool]]) -> bool:
        """Fill *store* with *pull*, unless that succeeded recently; return whether it has the image.

        Concurrent calls share one pull.
        """
        async with self._locks.setdefault(store, asyncio.Lock()):
            if store in self._fetched:
                return True
            await asyncio.to_thread(self._make, store)
            if pulled := await pull():
                self._fetched[store] = True
            return pulled

    @property
    def _newest(self) -> Path:
        return self._directory / str(self._number)

    def _last_number(self) -> int:
        generations = list(self._directory.iterdir())
        number = max((int(generation.name) for generation in generations), default=0)
        return number + any(not self._is_usable(generation) for generation in generations)

    def _is_usable(self, generation: Path) -> bool:
        """False if its owner is another user id, or for a generation of version 0.1, which is a single store."""
        return generation.stat().st_uid == self._owner and not (generation / "overlay-images").exists()

    def _make_newest(self) -> None:
        self._newest.mkdir(exist_ok=True)
        os.chown(self._newest, self._owner, self._owner)

    def _make(self, store: Path) -> None:
        # Builds use a read-only mount, in which they cannot create the lock files that they need.
        locks = (store / "overlay-images/images.lock", store / "overlay-layers/layers.lock")
        for lock in locks:
            lock.parent.mkdir(parents=True, exist_ok=True)
            lock.touch()
        for path in (store, *(lock.parent for lock in locks), *locks):
            os.chown(path, self._owner, self._owner)

    async def _begin_another(self) -> None:
        log.warning("disk nearly full: base images are removed", store=str(self._newest))
        self._number += 1
        self._make_newest()
        await self._remove_unused()

    async def _remove_unused(self) -> None:
        for generation in list(self._directory.iterdir()):
            if generation != self._newest and not self._users[generation]:
                await asyncio.to_thread(remove, generation)
