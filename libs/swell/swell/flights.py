"""Identical work that is under way is done once; whoever asks meanwhile waits for the same result."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Work by key. A caller that goes away leaves the work to the others."""

    def __init__(self) -> None:
        self._under_way: dict[K, asyncio.Task[V]] = {}

    async def join(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Wait for the work under *key*, starting it when nobody has; every caller gets its result or its error."""
        return await asyncio.shield(self.begin(key, start))

    def begin(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> "asyncio.Task[V]":
        """See that the work under *key* is under way; nobody needs to wait for it."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(start())
            task.add_done_callback(lambda done: self._land(key, done))
        return task

    def _land(self, key: K, task: "asyncio.Task[V]") -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # read it: when every caller has left, nobody else would
