"""The time limit of a build. A push that fails temporarily is repeated for as long as the build may run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TypeVar

from builder.domain.failure import BuildFailure
from swell.store.records import Reason

T = TypeVar("T")
WriteLine = Callable[[bytes], Awaitable[None]]

PAUSES = (1.0, 30.0)
"""Seconds before the second try, doubled each time, and the longest pause."""
KEEP_TRIES = 5
"""How often it is tried to store what was built."""


class _BuildTime:
    """The running build: its log, and the failures of pushes that are repeated now, by their calls."""

    def __init__(self, write_line: WriteLine) -> None:
        self.write_line = write_line
        self.failures: dict[object, BuildFailure] = {}


_current: ContextVar[_BuildTime | None] = ContextVar("build_time", default=None)


@asynccontextmanager
async def time_limit(limit: timedelta, write_line: WriteLine) -> AsyncIterator[None]:
    """Limit the time of the block, a build with the log *write_line*; `retry_push` works inside it.

    Raises:
        BuildFailure: the time is over. The failure is that of a push, if one was being repeated.
    """
    build, timeout = _BuildTime(write_line), asyncio.timeout(limit.total_seconds())
    token = _current.set(build)
    try:
        async with timeout:
            yield
    except TimeoutError as error:
        if not timeout.expired():
            raise
        message = f"The build took longer than the {limit} h that this server allows."
        raise next(iter(build.failures.values()), BuildFailure(Reason.TIMED_OUT, message)) from error
    finally:
        _current.reset(token)


async def retry_push(push: Callable[[], Awaitable[T]], keep: Callable[[], Awaitable[bool]] | None = None) -> T:
    """Return the result of *push*, which is repeated while it fails temporarily, until the time of the build is over.

    *keep*, which stores what was built, is called after each failure until it returns true, because it has stored it
    or cannot, at most `KEEP_TRIES` times.
    Outside of a `time_limit`, nothing is repeated.

    Raises:
        BuildFailure: the registry refuses the image.
    """
    build, call, (pause, longest), tries = _current.get(), object(), PAUSES, KEEP_TRIES
    while True:
        try:
            result = await push()
        except BuildFailure as failure:
            if build is None or not failure.is_temporary:
                raise
            build.failures[call] = failure
            await build.write_line(f"({failure} The push is repeated in {pause:.0f} s)".encode())
        else:
            if build:
                build.failures.pop(call, None)
            return result
        if keep and tries:
            tries = 0 if await keep() else tries - 1
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)
