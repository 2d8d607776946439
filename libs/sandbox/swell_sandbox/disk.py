"""Limits the disk usage of a directory by measuring it; quotas are not available on most file systems."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from swell.concurrency.interrupt import interrupted_by
from swell.disk import in_thread

FILE = 16 << 10
"""Bytes that each file and directory counts in addition: mke2fs makes one inode for so many bytes of disk.

Source: mke2fs.conf(5), `inode_ratio`, https://man7.org/linux/man-pages/man5/mke2fs.conf.5.html
"""
MOST_OPEN = 200_000
"""Open and mapped files that are looked at; a build with more is ended, or a deleted file could hide among them."""

_EVERY = 1.0  # seconds
_REST = 5  # measuring takes at most a sixth of the time


class DiskLimitReached(Exception):
    """A directory uses more disk than allowed."""


@asynccontextmanager
async def bounded(directory: Path, limit: int, groups: Sequence[Path] = ()) -> AsyncIterator[None]:
    """Cancel the block when *directory*, and what processes in the cgroups *groups* hold, take more than *limit* bytes.

    They are measured about once a second.

    Raises:
        DiskLimitReached: the limit is exceeded.
    """
    async with interrupted_by(_above(directory, limit, groups)):
        yield


async def _above(directory: Path, limit: int, groups: Sequence[Path]) -> DiskLimitReached:
    await _until_above(directory, limit, groups)
    return DiskLimitReached(f"more than {limit} bytes of disk")


async def _until_above(directory: Path, limit: int, groups: Sequence[Path]) -> None:
    duration = 0.0
    while True:
        await asyncio.sleep(max(_EVERY, _REST * duration))  # most commands end before the first measurement
        started = time.monotonic()
        if await used(directory) + await in_thread(deleted, groups) > limit:
            return
        duration = time.monotonic() - started


async def used(directory: Path) -> int:
    """Return the bytes of disk that *directory* uses, and `FILE` bytes for each file in it.

    Files that vanish during the measurement do not count.
    """
    blocks, files = await asyncio.gather(_du(directory, "--block-size=1"), _du(directory, "--inodes"))
    return blocks + files * FILE


async def _du(directory: Path, unit: str) -> int:
    process = await asyncio.create_subprocess_exec(
        "du",
        "--summarize",
        unit,
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


def deleted(groups: Sequence[Path]) -> int:
    """Return the bytes of deleted files that processes in the cgroups *groups* still have open or mapped.

    They take disk until they are closed, and no directory has them. More than `MOST_OPEN` open files are no smaller
    than any limit. Source: proc_pid_fd(5), https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html
    """
    sizes: dict[tuple[int, int], int] = {}
    for number, path in enumerate(_open_files(groups)):
        if number >= MOST_OPEN:
            return 1 << 62
        with suppress(OSError):  # it was closed, or its process has ended
            found = path.stat()
            if not found.st_nlink and stat.S_ISREG(found.st_mode):
                sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _open_files(groups: Sequence[Path]) -> Iterator[Path]:
    processes = {
        process
        for group in groups
        for file in group.rglob("cgroup.procs")
        for process in _words(file)
        if process != "0"
    }
    for process in processes:
        for kind in ("fd", "map_files"):
            with suppress(OSError), os.scandir(f"/proc/{process}/{kind}") as entries:
                yield from (Path(entry.path) for entry in entries)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
