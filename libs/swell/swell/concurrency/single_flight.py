"""Single-flight: concurrent calls with the same key share one execution and its result."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Executions by key. A cancelled caller does not cancel the execution for the others."""

    def __init__(self, *, kept: bool = True) -> None:
        """*kept*: an execution without callers continues; otherwise it is cancelled."""
        self._kept = kept
        self._tasks: dict[K, asyncio.Task[V]] = {}
        self._callers: Counter[asyncio.Task[V]] = Counter()

    async def run(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Return the result, or raise the error, of the execution under *key*; start it if none runs."""
        task = self.begin(key, start)
        self._callers[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._callers[task] -= 1
            if not self._callers[task]:
                del self._callers[task]
                if not self._kept:
                    await self._cancel(key, task)

    def begin(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> "asyncio.Task[V]":
        """Start the execution under *key* if none runs, without waiting for it."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(start())
            task.add_done_callback(lambda done: self._remove(key, done))
        return task

    def is_running(self, key: K) -> bool:
        """Return whether there is an execution under *key*."""
        return key in self._tasks

    async def _cancel(self, key: K, task: "asyncio.Task[V]") -> None:
        """Cancel *task* and wait for its end; calls in the meantime start a new execution."""
        if not task.done():
            del self._tasks[key]
            task.cancel()
            await asyncio.wait([task])

    def _remove(self, key: K, task: "asyncio.Task[V]") -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # mark it as retrieved: without callers asyncio would log it
