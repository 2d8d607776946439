"""A fair queue for hashes of passwords, which cost tens of milliseconds on purpose."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from cachetools import TTLCache
from msgspec import Struct

from swell.concurrency.tasks import TaskOwner
from swell.errors import TooManyRequests

MAX_WAITING = 64  # of the addresses of each kind
MAX_OF_ADDRESS = 4  # different passwords
MAX_KNOWN = 1000  # addresses
KNOWN_SECONDS = 24 * 3600.0
MAX_WRONG = 2  # wrong passwords of an address within a day; with more, it guesses
MAX_GUESSING = 50_000  # addresses

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

    There are three kinds of addresses, and a queue for each; the queues take turns:

    - known: a right password came from it within a day;
    - guessing: more than two wrong ones did;
    - new: the others.

    So addresses that guess, however many, do not lock out a first login from another one.
    """

    def __init__(self) -> None:
        self._known: TTLCache[str, None] = TTLCache(MAX_KNOWN, KNOWN_SECONDS)
        self._wrong: TTLCache[str, int] = TTLCache(MAX_GUESSING, KNOWN_SECONDS)
        self._of_known, self._of_new, self._of_guessing = (
            FairQueue[_Task](MAX_WAITING, MAX_OF_ADDRESS) for _ in range(3)
        )
        self._turns = deque((self._of_known, self._of_new, self._of_guessing))
        self._is_working = False
        self._tasks = TaskOwner()

    def remember(self, address: str) -> None:
        """Store that a right password came from *address*."""
        self._known[address] = None

    def count_wrong(self, address: str) -> None:
        """Store that a wrong password came from *address*."""
        self._wrong[address] = self._wrong.get(address, 0) + 1

    def _queue_of(self, address: str) -> FairQueue[_Task]:
        if address in self._known:
            return self._of_known
        return self._of_guessing if self._wrong.get(address, 0) > MAX_WRONG else self._of_new

    async def run(self, address: str, work: Callable[[], T]) -> T:
        """Return the result of *work*, when it is the turn of the client at *address*.

        Raises:
            TooManyRequests: four others of *address* are waiting, or too many of all addresses of its kind.
        """
        task = _Task(work, asyncio.get_running_loop().create_future())
        queue = self._queue_of(address)
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
            while any(self._turns):
                await _finish(self._next())
        finally:
            self._is_working = False

    def _next(self) -> _Task:
        """The next task of the queue that has waited longest for its turn; one is not empty."""
        queue = next(filter(None, self._turns))
        self._turns.remove(queue)
        self._turns.append(queue)
        return queue.take()


async def _finish(task: _Task) -> None:
    try:
        result = await asyncio.to_thread(task.work)
    except Exception as error:  # noqa: BLE001  (the request that waits gets it)
        if not task.result.done():
            task.result.set_exception(error)
    else:
        if not task.result.done():
            task.result.set_result(result)
