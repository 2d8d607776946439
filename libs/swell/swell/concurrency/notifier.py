"""Waiting for what other processes do: a bell tells that it may be done; looking finds out, also if none was heard."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

LOOK_AGAIN = 2.0  # seconds; a bell can be missed while the connection is down


class Notifier:
    """A bell for each key, heard by whoever waits there; the others cost nothing."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def notify(self, key: str) -> None:
        """Whoever waits there looks at once."""
        for rung in self._waiting.get(key, ()):
            rung.set()

    async def wait_until(self, key: str, look: Callable[[], Awaitable[T]], enough: Callable[[T], bool]) -> T:
        """What *look* finds once it is *enough*, be it after hours; looks at once, when rung for, and now and then."""
        rung = asyncio.Event()
        self._waiting[key].add(rung)
        try:
            while True:
                rung.clear()  # before looking: what is heard meanwhile counts, what was heard does not count twice
                if enough(found := await look()):
                    return found
                await wait_at_most(LOOK_AGAIN, rung)
        finally:
            self._waiting[key].discard(rung)
            if not self._waiting[key]:
                del self._waiting[key]


async def wait_at_most(seconds: float, event: asyncio.Event) -> None:
    """Wait for *event*, but no longer than so many *seconds*."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
