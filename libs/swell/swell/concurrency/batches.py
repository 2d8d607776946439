"""Store many values with few calls: what is added while a call runs is passed to the next one together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from swell.concurrency.tasks import TaskOwner

T = TypeVar("T")


class Batches(Generic[T]):
    """Passes values to *store* in their order, several at once up to a *weight* of *most* together.

    One call runs at a time. If it fails, all additions of its batch fail.
    """

    def __init__(self, store: Callable[[Sequence[T]], Awaitable[None]], weight: Callable[[T], int], most: int) -> None:
        self._store = store
        self._weight = weight
        self._most = most
        self._waiting: deque[tuple[T, asyncio.Future[None]]] = deque()
        self._is_storing = False
        self._tasks = TaskOwner()

    async def add(self, value: T) -> None:
        """Return when *value* is stored; raises what *store* has raised."""
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append((value, stored))
        if not self._is_storing:
            self._is_storing = True
            self._tasks.start(self._store_waiting())
        await stored

    async def _store_waiting(self) -> None:
        try:
            while batch := self._next():
                await self._store_batch(batch)
        finally:
            self._is_storing = False

    async def _store_batch(self, batch: "list[tuple[T, asyncio.Future[None]]]") -> None:
        error: Exception | None = None
        try:
            await self._store([value for value, _ in batch])
        except Exception as failure:  # noqa: BLE001  the callers of `add` handle it
            error = failure
        for _, stored in batch:
            if stored.done():  # its caller was cancelled
                continue
            if error:
                stored.set_exception(error)
            else:
                stored.set_result(None)

    def _next(self) -> "list[tuple[T, asyncio.Future[None]]]":
        """The values of the next call, one at least; those whose callers were cancelled are left out."""
        batch, weight = list[tuple[T, asyncio.Future[None]]](), 0
        while self._waiting:
            value, stored = self._waiting[0]
            weight += self._weight(value)
            if batch and weight > self._most:
                break
            self._waiting.popleft()
            if not stored.done():
                batch.append((value, stored))
        return batch
