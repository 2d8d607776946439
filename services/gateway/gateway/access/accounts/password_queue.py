"""A fair queue for hashes of passwords, which cost tens of milliseconds on purpose."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from cachetools import TTLCache
from msgspec import Struct

from swell.concurrency.tasks import TaskOwner
from swell.errors import TooManyRequests

MAX_WAITING = 64  # of all addresses that are not known, and as many of the known ones
MAX_OF_ADDRESS = 4  # different passwords
MAX_KNOWN = 1000  # addresses
KNOWN_SECONDS = 24 * 3600.0

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items of clients, which take turns: at most *size* items of all, and *share* of one client.

    A full queue drops the last item of the client that has the most. So a client with few items gets into it, and is
    served after at most one item of each other client.
    """

    def __init__(self, size: int, share: int) -> None:
        self._size = size
        self._share = share
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()  # clients in the order of their turns

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, client: str, item: T) -> T | None:
        """Add *item* of *client*; return the item that is dropped, which may be *item* itself."""
        own, dropped = len(self._waiting.get(client, ())), None
        if own >= self._share:
            return item
        if len(self) >= self._size:
            most = max(self._waiting, key=lambda each: len(self._waiting[each]))
            if len(self._waiting[most]) <= own + 1:
                return item
            dropped = self._waiting[most].pop()
        self._waiting.setdefault(client, deque()).append(item)
        return dropped

    def take(self) -> T:
        """Remove and return the next item; the queue is not empty."""
        client, items = next(iter(self._waiting.items()))
        item = items.popleft()
        self._waiting.move_to_end(client)
        if not items:
            del self._waiting[client]
        return item

    def remove(self, client: str, item: T) -> None:
        """Remove *item*, if it still waits."""
        items = self._waiting.get(client, deque())
        if item in items:
            items.remove(item)
            if not items:
                del self._waiting[client]


class _Task(Struct, frozen=True, eq=False):
    work: Callable[[], Any]
    result: "asyncio.Future[Any]"


class PasswordQueue:
    """Computes hashes of passwords in a thread, one at a time: guesses use at most one core.

    Addresses from which a right password came within a day are known. They have a queue of their own, which gets every
    second turn, so that strangers, at however many addresses, do not lock them out.
    """

    def __init__(self) -> None:
        self._known: TTLCache[str, None] = TTLCache(MAX_KNOWN, KNOWN_SECONDS)
        self._of_known: FairQueue[_Task] = FairQueue(MAX_WAITING, MAX_OF_ADDRESS)
        self._of_strangers: FairQueue[_Task] = FairQueue(MAX_WAITING, MAX_OF_ADDRESS)
        self._is_known_next = True
        self._is_working = False
        self._tasks = TaskOwner()

    def remember(self, address: str) -> None:
        """Store that a right password came from *address*."""
        self._known[address] = None

    async def run(self, address: str, work: Callable[[], T]) -> T:
        """Return the result of *work*, when it is the turn of the client at *address*.

        Raises:
            TooManyRequests: four others of *address* are waiting, or too many of all addresses.
        """
        task = _Task(work, asyncio.get_running_loop().create_future())
        queue = self._of_known if address in self._known else self._of_strangers
        if (dropped := queue.add(address, task)) and not dropped.result.done():
            dropped.result.set_exception(TooManyRequests("too many passwords are being verified", retry_after=1))
        if not self._is_working:
            self._is_working = True
            self._tasks.start(self._work())
        try:
            result: T = await task.result
            return result
        finally:
            queue.remove(address, task)

    async def _work(self) -> None:
        """Do all that waits. Work whose client has left is finished before the next: a thread cannot be stopped."""
        try:
            while self._of_known or self._of_strangers:
                await _finish(self._next())
        finally:
            self._is_working = False

    def _next(self) -> _Task:
        is_known = bool(self._of_known) and (self._is_known_next or not self._of_strangers)
        self._is_known_next = not is_known
        return (self._of_known if is_known else self._of_strangers).take()


async def _finish(task: _Task) -> None:
    try:
        result = await asyncio.to_thread(task.work)
    except Exception as error:  # noqa: BLE001  (the request that waits gets it)
        if not task.result.done():
            task.result.set_exception(error)
    else:
        if not task.result.done():
            task.result.set_result(result)
