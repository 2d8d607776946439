"""Retry an operation while a backend is unavailable, for results that cannot be produced again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from swell.errors import Unavailable
from swell.log import log

T = TypeVar("T")

RETRY_FOR = timedelta(minutes=2)
PAUSES = (0.5, 15.0)  # seconds: the first pause, doubled each time, and the longest one


async def retry_until_available(operation: Callable[[], Awaitable[T]], time_limit: timedelta = RETRY_FOR) -> T:
    """Return the result of *operation*, which is retried while it raises `Unavailable`.

    Raises:
        Unavailable: the operation has been unavailable for *time_limit*.
    """
    deadline = monotonic() + time_limit.total_seconds()
    pause, longest = PAUSES
    while True:
        try:
            return await operation()
        except Unavailable as error:
            if monotonic() + pause > deadline:
                raise
            log.warning("backend unavailable, retrying", error=str(error))
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)
