"""A pause of consumers: they take no more messages until it ends, and finish those that they have."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Pause:
    """The pause of all consumers of a process that share it; it counts the messages that they handle."""

    def __init__(self) -> None:
        self.running = 0
        """Messages that are being handled."""
        self._over = asyncio.Event()
        self._over.set()

    @property
    def is_active(self) -> bool:
        return not self._over.is_set()

    def set(self, *, active: bool) -> None:
        """Start or end the pause."""
        if active:
            self._over.clear()
        else:
            self._over.set()

    async def wait(self) -> None:
        """Wait for the end of the pause."""
        await self._over.wait()

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Count a message while the block runs."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
