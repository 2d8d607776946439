"""Base images that builds share: a store which they read, so that a layer is fetched once.

It is only a cache of bytes. Each build asks the registry for each of its images with its own credentials and takes
from here no more than the layers which the registry's answer names.
"""

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from cachetools import TTLCache

from builder.adapters.workspace import remove
from builder.settings import EngineSettings
from swell.log import log

_MOST_NAMES = 4096
_Key = tuple[Path, tuple[str, str]]


class BaseImages:
    """A directory of stores, of which the newest is used.

    When the disk runs low a new, empty one begins; the old goes with the last build that reads it. Nothing is removed
    from under a build.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._directory = settings.workspace / "bases"
        self._keep_free = settings.base_cache_free
        self._owner = settings.first_user_id
        self._number = self._last_number()
        self._users: Counter[Path] = Counter()
        self._fetched: TTLCache[_Key, bool] = TTLCache(_MOST_NAMES, settings.base_cache_age.total_seconds())
        self._fetching: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()
        self._make_newest()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Path]:
        """The store to read from, which stays as long as it is leased."""
        if shutil.disk_usage(self._directory).free < self._keep_free:
            await self._begin_another()
        store = self._newest
        self._users[store] += 1
        try:
            yield store
        finally:
            self._users[store] -= 1
            await self._remove_unused()

    async def fetch(self, store: Path, image: tuple[str, str], pull: Callable[[], Awaitable[bool]]) -> None:
        """Have *pull* fetch *image* (name, platform) into *store* unless it lately did; once for all who ask."""
        key = (store, image)
        async with self._fetching.setdefault(key, asyncio.Lock()):
            if key not in self._fetched and await pull():
                self._fetched[key] = True

    @property
    def _newest(self) -> Path:
        return self._directory / str(self._number)

    def _last_number(self) -> int:
        stores = list(self._directory.iterdir())
        number = max((int(store.name) for store in stores), default=0)
        # A store of another user is of no use: the operator has changed the ids.
        return number + any(store.stat().st_uid != self._owner for store in stores)

    def _make_newest(self) -> None:
        # Builds read it through a read-only mount, where they could not make the lock files that they need.
        locks = (self._newest / "overlay-images/images.lock", self._newest / "overlay-layers/layers.lock")
        for lock in locks:
            lock.parent.mkdir(parents=True, exist_ok=True)
            lock.touch()
        for path in (self._newest, *(lock.parent for lock in locks), *locks):
            os.chown(path, self._owner, self._owner)

    async def _begin_another(self) -> None:
        log.warning("disk is low: base images are forgotten", store=str(self._newest))
        self._number += 1
        self._make_newest()
        await self._remove_unused()

    async def _remove_unused(self) -> None:
        for store in list(self._directory.iterdir()):
            if store != self._newest and not self._users[store]:
                await asyncio.to_thread(remove, store)
