"""Base images that builds share: stores which they read, so that a layer is fetched once.

It is only a cache of bytes. Each build asks the registry for each of its images with its own credentials and takes
from here no more than the layers which the registry's answer names. Each store has one image for one platform, fetched
with the credentials of one principal, and a build sees only those of its own images.
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
        """Where *image* for *platform* is, as fetched with the credentials of *principal*."""
        return self.path / hashlib.sha256("\n".join((principal, platform, image)).encode()).hexdigest()[:32]


class BaseImages:
    """Stores in generations, of which the newest is used.

    When the disk runs low a new, empty generation begins; the old one is removed with the last build that reads it.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._directory = settings.workspace / "bases"
        self._keep_free = settings.base_cache_free
        self._owner = settings.first_user_id
        self._number = self._last_number()
        self._users: Counter[Path] = Counter()
        self._fetched: TTLCache[Path, bool] = TTLCache(_MOST_NAMES, settings.base_cache_age.total_seconds())
        self._fetching: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._make_newest()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Generation]:
        """The newest generation, which is not removed for the length of the block."""
        if shutil.disk_usage(self._directory).free < self._keep_free:
            await self._begin_another()
        generation = self._newest
        self._users[generation] += 1
        try:
            yield Generation(generation)
        finally:
            self._users[generation] -= 1
            await self._remove_unused()

    async def fetch(self, store: Path, pull: Callable[[], Awaitable[bool]]) -> bool:
        """Fill *store* with *pull* unless that succeeded lately; concurrent calls share one pull. Whether it worked."""
        async with self._fetching.setdefault(store, asyncio.Lock()):
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
        """Not if the operator has changed the user ids, or if it is one store of all images, as before 0.2."""
        return generation.stat().st_uid == self._owner and not (generation / "overlay-images").exists()

    def _make_newest(self) -> None:
        self._newest.mkdir(exist_ok=True)
        os.chown(self._newest, self._owner, self._owner)

    def _make(self, store: Path) -> None:
        # Builds read it through a read-only mount, where they could not make the lock files that they need.
        locks = (store / "overlay-images/images.lock", store / "overlay-layers/layers.lock")
        for lock in locks:
            lock.parent.mkdir(parents=True, exist_ok=True)
            lock.touch()
        for path in (store, *(lock.parent for lock in locks), *locks):
            os.chown(path, self._owner, self._owner)

    async def _begin_another(self) -> None:
        log.warning("disk is low: base images are forgotten", store=str(self._newest))
        self._number += 1
        self._make_newest()
        await self._remove_unused()

    async def _remove_unused(self) -> None:
        for generation in list(self._directory.iterdir()):
            if generation != self._newest and not self._users[generation]:
                await asyncio.to_thread(remove, generation)
