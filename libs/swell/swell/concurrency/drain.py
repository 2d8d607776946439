"""The drain of a process: after a request to stop, running work may finish within a limit that all parts share."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

DRAIN = timedelta(seconds=25)
"""The default limit of a service: Kubernetes kills it 30 s after SIGTERM, unless it is configured."""
AFTER_ERROR = 5.0  # seconds
POLL_SECONDS = 0.05
QUIET = 2.5  # seconds


class Drain:
    """The drain of one process, at most *limit* long. It starts once; `end` ends it early."""

    def __init__(self, limit: timedelta = timedelta(0)) -> None:
        self.limit = limit.total_seconds()
        """Seconds."""
        self.started = asyncio.Event()
        self._ended = asyncio.Event()
        self._until = 0.0

    @property
    def is_started(self) -> bool:
        """Whether the process stops: it accepts no new work."""
        return self.started.is_set()

    def start(self) -> None:
        """Start the drain; its time runs from now."""
        if not self.is_started:
            self._until = time.monotonic() + self.limit
            self.started.set()

    def end(self) -> None:
        """End the drain: running work is interrupted now."""
        self.start()
        self._ended.set()

    @property
    def seconds(self) -> float:
        """The seconds that are left. Without a request to stop, after an error for example, at most 5 s."""
        if not self.is_started:
            return min(self.limit, AFTER_ERROR)
        return 0.0 if self._ended.is_set() else max(0.0, self._until - time.monotonic())

    @property
    def quiet(self) -> float:
        """For how many seconds no request must have come before a server stops; a pull is several requests."""
        return min(QUIET, self.limit / 10)

    async def finish(self, tasks: Collection["asyncio.Task[Any]"]) -> None:
        """Wait until all of *tasks* have ended, or the drain has."""
        await self._before_end(asyncio.wait, tasks)

    async def until(self, is_done: Callable[[], bool]) -> None:
        """Wait until *is_done*, which is called every 50 ms, returns True, or the drain has ended."""

        async def poll(_: object) -> None:
            while not is_done():  # noqa: ASYNC110  (a count of requests has no event)
                await asyncio.sleep(POLL_SECONDS)

        await self._before_end(poll, (self,))

    async def _before_end(self, wait: Callable[[Any], Awaitable[Any]], what: Collection[Any]) -> None:
        if not what or not self.seconds:
            return
        waiting = asyncio.ensure_future(wait(what))
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({waiting, ended}, timeout=self.seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            ended.cancel()
            await asyncio.gather(waiting, ended, return_exceptions=True)


class Running:
    """The requests that a server is answering: their number, and when the last one ended (`time.perf_counter`)."""

    def __init__(self) -> None:
        self.count = 0
        self.last = float("-inf")

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a request while the block runs."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            self.last = time.perf_counter()

    def is_quiet(self, seconds: float) -> bool:
        """Whether no request is running, and none has ended in the last *seconds*."""
        return not self.count and time.perf_counter() - self.last >= seconds
