"""Background tasks with an owner that awaits their end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Self

from swell.concurrency.drain import Drain


class TaskOwner:
    """Starts background tasks, and cancels those that remain when its block ends.

    Unlike a `TaskGroup`, it does not end the block when a task fails: tasks handle their own errors.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cancel()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run *work* in a task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until every task has ended, at most *seconds*."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def finish(self, drain: Drain) -> None:
        """Wait until every task has ended, or *drain* has."""
        await drain.finish(tuple(self._tasks))

    async def wait_for_one(self) -> None:
        """Wait until a task has ended; return at once if no task runs."""
        if self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def cancel(self) -> None:
        """Cancel every task and wait for its end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
