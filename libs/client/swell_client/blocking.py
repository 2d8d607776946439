"""The few calls that differ between the async and the sync client, apart from `await`."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def sleep_async(seconds: float) -> None:
    import asyncio  # noqa: PLC0415 - takes time to import

    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


async def in_thread_async(function: Callable[[], T]) -> T:
    """Call *function* in a thread, because it reads files."""
    import asyncio  # noqa: PLC0415 - takes time to import

    return await asyncio.to_thread(function)


def in_thread(function: Callable[[], T]) -> T:
    """Call *function*: the sync client may block."""
    return function()
