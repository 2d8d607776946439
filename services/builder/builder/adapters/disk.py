"""The disk that one build may use. File systems that could refuse more are seldom there, so we look, each second."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from builder.domain.failure import BuildFailure
from swell.store.records import Reason

_EVERY = 1.0
_REST = 5  # looking may take a sixth of the time at most


@asynccontextmanager
async def bounded(directory: Path, limit: int) -> AsyncIterator[None]:
    """Cancel the block when *directory* has come to more than *limit* bytes of disk.

    Between two looks it can grow by what a disk writes in that time. Files that have no name any more do not count.

    Raises:
        BuildFailure: that has happened.
    """
    ours = asyncio.current_task()
    assert ours is not None  # noqa: S101  (we are in one)
    cancelled_before, exceeded = ours.cancelling(), False

    async def watch() -> None:
        nonlocal exceeded
        await _until_above(directory, limit)
        exceeded = True
        ours.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError as error:
        if exceeded and ours.uncancel() <= cancelled_before:
            message = f"The build took more than the {limit} bytes of disk that this server allows."
            raise BuildFailure(Reason.DISK, message) from error
        raise
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def _until_above(directory: Path, limit: int) -> None:
    took = 0.0
    while True:
        await asyncio.sleep(max(_EVERY, _REST * took))  # at first, too: most builds end before anybody need look
        began = time.monotonic()
        if await used(directory) > limit:
            return
        took = time.monotonic() - began


async def used(directory: Path) -> int:
    """Bytes of disk below *directory*; what vanishes meanwhile does not count."""
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
        with suppress(ProcessLookupError):  # it may have ended by itself in this moment
            process.kill()
        await process.wait()
        raise
    return int(output.split()[0]) if output else 0
