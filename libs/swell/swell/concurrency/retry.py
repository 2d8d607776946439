"""Waiting for a part of this server that is away, where giving up would lose what cannot be had again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from swell.errors import Unavailable
from swell.log import log

T = TypeVar("T")

PATIENCE = timedelta(minutes=2)
PAUSES = (0.5, 15.0)  # seconds before it is tried again: at first, doubled each time, and at most


async def retry_until_available(do: Callable[[], Awaitable[T]]) -> T:
    """What *do* answers as soon as it can; raises `Unavailable` when it has been unavailable for `PATIENCE`."""
    give_up = monotonic() + PATIENCE.total_seconds()
    pause, longest = PAUSES
    while True:
        try:
            return await do()
        except Unavailable as error:
            if monotonic() + pause > give_up:
                raise
            log.warning("waiting for what is away", error=str(error))
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)
