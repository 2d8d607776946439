"""Limits the disk usage of a build by measuring its files."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from builder.domain.failure import BuildFailure
from swell.store.records import Reason
from swell_sandbox import disk
from swell_sandbox.disk import deleted, used

__all__ = ["bounded", "deleted", "exceeded", "used"]


@asynccontextmanager
async def bounded(directory: Path, limit: int, groups: Sequence[Path] = ()) -> AsyncIterator[None]:
    """Cancel the block when the build uses more than *limit* bytes of disk, as `swell_sandbox.disk.bounded`.

    Raises:
        BuildFailure: the limit is exceeded.
    """
    try:
        async with disk.bounded(directory, limit, groups):
            yield
    except disk.DiskLimitReached as error:
        raise exceeded(limit) from error


def exceeded(limit: int) -> BuildFailure:
    """Return the failure of a build that uses more than *limit* bytes of disk."""
    return BuildFailure(Reason.DISK, f"The build used more than the {limit} bytes of disk that this server allows.")
