"""Identical work that is under way is done once; whoever asks meanwhile waits for the same result."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Work by key. A caller that goes away leaves the work to the others."""

    def __init__(self, *, kept: bool = True) -> None:
        """Unless it is *kept*, work that nobody waits for any more is cancelled."""
        self._kept = kept
        self._under_way: dict[K, asyncio.Task[V]] = {}
        self._waiting: Counter[asyncio.Task[V]] = Counter()

    async def run(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Wait for the work under *key*, starting it when nobody has; every caller gets its result or its error."""
        task = self.begin(key, start)
        self._waiting[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]
                if not self._kept:
                    await self._abandon(key, task)

    def begin(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> "asyncio.Task[V]":
        """See that the work under *key* is under way; nobody needs to wait for it."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(start())
            task.add_done_callback(lambda done: self._land(key, done))
        return task

    async def _abandon(self, key: K, task: "asyncio.Task[V]") -> None:
        """Return when *task* has ended; whoever asks meanwhile has it begun anew."""
        if not task.done():
            del self._under_way[key]
            task.cancel()
            await asyncio.wait([task])

    def _land(self, key: K, task: "asyncio.Task[V]") -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if not task.cancelled():
            task.exception()  # read it: when every caller has left, nobody else would
