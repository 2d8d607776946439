"""Wait for changes that other processes make: a notification wakes the waiting task, polling covers lost ones."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 2.0
"""Notifications are lost while the connection is down."""


class Notifier:
    """Wakes the tasks that wait for a key."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def notify(self, key: str) -> None:
        """Wake every task that waits for *key*."""
        for event in self._waiting.get(key, ()):
            event.set()

    async def wait_until(self, key: str, look: Callable[[], Awaitable[T]], enough: Callable[[T], bool]) -> T:
        """Poll `look` until `enough(result)` is true, and return that result; `notify(key)` polls immediately.

        There is no deadline; errors of `look` are raised.
        """
        event = asyncio.Event()
        self._waiting[key].add(event)
        try:
            while True:
                event.clear()  # before the poll, so that a notification during the poll causes another one
                if enough(result := await look()):
                    return result
                await wait_at_most(POLL_SECONDS, event)
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]


async def wait_at_most(seconds: float, event: asyncio.Event) -> None:
    """Return when *event* is set or after *seconds*."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
