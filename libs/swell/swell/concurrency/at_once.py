"""Run many calls, some of them at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def at_once(limit: int, calls: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """Return the results of *calls* in their order; at most *limit* run at once.

    The first error cancels the others and is raised after their end.
    """
    waiting, results = enumerate(calls), dict[int, T]()

    async def work() -> None:
        for number, call in waiting:
            results[number] = await call()

    tasks = [asyncio.create_task(work()) for _ in range(limit)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [results[number] for number in sorted(results)]
