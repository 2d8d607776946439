"""Files on this machine's disk, read without stopping the event loop."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from swell.oci.digest import Digest

P = ParamSpec("P")
T = TypeVar("T")

PIECE = 512 << 10  # bytes; a slow client holds some of them in memory


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of *work*, done in a thread; whoever is cancelled meanwhile waits until the thread is done with it."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def digest_of_file(path: Path) -> Digest:
    """The sha256 digest of the bytes at *path*; to be called in a thread."""
    with path.open("rb") as file:
        return Digest(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


async def cached(descriptor: int, start: int, stop: int) -> None:
    """See that a file's bytes from *start* to before *stop*, at least one and all there, are in the page cache.

    They mostly are; a thread waits for the disk if not.
    """
    if not (_is_cached(descriptor, start) and _is_cached(descriptor, stop - 1)):
        await in_thread(os.pread, descriptor, stop - start, start)


async def pieces_at(descriptor: int, start: int, stop: int) -> AsyncIterator[bytes]:
    """A file's bytes from *start* to before *stop*, which is not beyond its end, in pieces."""
    for at in range(start, stop, PIECE):
        end = min(at + PIECE, stop)
        await cached(descriptor, at, end)
        yield os.pread(descriptor, end - at, at)


def _is_cached(descriptor: int, at: int) -> bool:
    """Whether the byte there can be had without waiting for the disk."""
    try:
        return os.preadv(descriptor, [bytearray(1)], at, os.RWF_NOWAIT) == 1
    except OSError:  # it is on disk only, or this file system cannot say
        return False
