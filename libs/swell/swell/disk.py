"""Read files without blocking the event loop."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from swell.oci.digest import Digest

P = ParamSpec("P")
T = TypeVar("T")

PIECE = 512 << 10  # bytes; a slow client keeps some pieces in memory


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run *work* in a thread and return its result; a cancelled caller waits for the end of the thread."""
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))  # no group: a thread cannot be cancelled
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def digest_of_file(path: Path) -> Digest:
    """Return the sha256 digest of the file at *path*; blocks, so call it in a thread."""
    with path.open("rb") as file:
        return Digest(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


async def cached(descriptor: int, start: int, stop: int) -> None:
    """Load a file's bytes from *start* to before *stop* into the page cache; the range is inside the file, not empty.

    A thread is used only when they are not in the page cache.
    """
    if not (_is_cached(descriptor, start) and _is_cached(descriptor, stop - 1)):
        await in_thread(os.pread, descriptor, stop - start, start)


async def pieces_at(descriptor: int, start: int, stop: int) -> AsyncIterator[bytes]:
    """Yield a file's bytes from *start* to before *stop*, which is inside the file, in pieces of 512 KiB."""
    for at in range(start, stop, PIECE):
        end = min(at + PIECE, stop)
        await cached(descriptor, at, end)
        yield os.pread(descriptor, end - at, at)


def _is_cached(descriptor: int, at: int) -> bool:
    """Return whether the byte is in the page cache."""
    try:
        return os.preadv(descriptor, [bytearray(1)], at, os.RWF_NOWAIT) == 1
    except OSError:  # it is not, or the file system does not support the flag
        return False
