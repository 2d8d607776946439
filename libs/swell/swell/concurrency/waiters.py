"""Wake many waiting tasks without a long pause for all others."""

import asyncio
from collections.abc import Iterator
from itertools import islice

GROUP = 8
"""Tasks that are woken together, at least. A thousand at once, each sending some bytes, take 20 ms and more."""
SPREAD = 0.04
"""Seconds in which all tasks are woken. A pause after each group leaves the processor to the tasks of other requests,
and to the other processes that these wait for."""
PAUSE = 0.001
"""Seconds after a group: the resolution of the timers of the event loop."""


class Waiters:
    """Tasks that wait for the same change. They are woken in groups, in the order in which they began to wait.

    Changes while a round of groups is woken are one change: after it, another round wakes those that wait by then.
    """

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._is_waking = False
        self._has_changed = False

    async def wait(self) -> None:
        """Wait until the next call of `wake_all`; there is no deadline."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def wake_all(self) -> None:
        """Wake the tasks that wait now, within `SPREAD` seconds, or twice as many if others are being woken."""
        if self._is_waking:
            self._has_changed = True
            return
        waiting, self._waiting, self._has_changed = self._waiting, [], False
        self._wake(iter(waiting), max(GROUP, round(len(waiting) * PAUSE / SPREAD)))

    def _wake(self, waiting: Iterator[asyncio.Future[None]], size: int) -> None:
        """Wake the first *size* of *waiting* now, and the others in groups of this size."""
        for future in (group := list(islice(waiting, size))):
            if not future.done():  # its task may have been cancelled
                future.set_result(None)
        self._is_waking = len(group) == size
        if self._is_waking:
            asyncio.get_running_loop().call_later(PAUSE, self._wake, waiting, size)
        elif self._has_changed:
            self.wake_all()
