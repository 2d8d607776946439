"""Limits the disk usage of a directory by measuring it; quotas are not available on most file systems."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_EVERY = 1.0  # seconds
_REST = 5  # measuring takes at most a sixth of the time


class DiskLimitReached(Exception):
    """A directory uses more disk than allowed."""


@asynccontextmanager
async def bounded(directory: Path, limit: int) -> AsyncIterator[None]:
    """Cancel the block when *directory* uses more than *limit* bytes of disk.

    It is measured about once a second. Open files without a name do not count.

    Raises:
        DiskLimitReached: the limit is exceeded.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (a coroutine runs in a task)
    cancelled_before, exceeded = task.cancelling(), False

    async def watch() -> None:
        nonlocal exceeded
        await _until_above(directory, limit)
        exceeded = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError as error:
        if exceeded and task.uncancel() <= cancelled_before:
            raise DiskLimitReached(f"more than {limit} bytes of disk") from error
        raise
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def _until_above(directory: Path, limit: int) -> None:
    duration = 0.0
    while True:
        await asyncio.sleep(max(_EVERY, _REST * duration))  # most commands end before the first measurement
        started = time.monotonic()
        if await used(directory) > limit:
            return
        duration = time.monotonic() - started


async def used(directory: Path) -> int:
    """Return the bytes of disk that *directory* uses; files that vanish during the measurement do not count."""
    process = await asyncio.create_subprocess_exec(
        "du",
        "--summarize",
        "--block-size=1",
        "--one-file-system",
        directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):  # it has just ended
            process.kill()
        await process.wait()
        raise
    return int(output.split()[0]) if output else 0
