"""Wake many waiting tasks without a long pause for all others."""

import asyncio
from collections.abc import Iterator
from itertools import islice

GROUP = 8
"""Tasks woken in one iteration of the event loop. A thousand at once, each sending some bytes, take 20 ms and more."""


class Waiters:
    """Tasks that wait for the same change. They are woken in groups, in the order in which they began to wait."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait until the next call of `wake_all`; there is no deadline."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def wake_all(self) -> None:
        """Wake the tasks that wait now; tasks that begin to wait meanwhile wait for the next call."""
        waiting, self._waiting = self._waiting, []
        _wake(iter(waiting))


def _wake(waiting: Iterator[asyncio.Future[None]]) -> None:
    for future in (group := list(islice(waiting, GROUP))):
        if not future.done():  # its task may have been cancelled
            future.set_result(None)
    if len(group) == GROUP:
        asyncio.get_running_loop().call_soon(_wake, waiting)
