"""Limits the disk usage of a build by measuring its directory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from builder.domain.failure import BuildFailure
from swell.store.records import Reason
from swell_sandbox import disk
from swell_sandbox.disk import used

__all__ = ["bounded", "used"]


@asynccontextmanager
async def bounded(directory: Path, limit: int) -> AsyncIterator[None]:
    """Cancel the block when *directory* uses more than *limit* bytes of disk, as `swell_sandbox.disk.bounded`.

    Raises:
        BuildFailure: the limit is exceeded.
    """
    try:
        async with disk.bounded(directory, limit):
            yield
    except disk.DiskLimitReached as error:
        message = f"The build used more than the {limit} bytes of disk that this server allows."
        raise BuildFailure(Reason.DISK, message) from error
