"""What ends a build before it has ended itself: too many processes, or too much disk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from builder.adapters.disk import deleted, exceeded, used
from builder.buildkit.daemons.daemon import Daemon
from builder.buildkit.progress import Progress
from builder.domain.failure import NO_EXIT_STATUS, BuildFailure
from builder.settings import EngineSettings
from swell.concurrency.interrupt import interrupted_by
from swell.disk import in_thread
from swell.store.records import Reason

_EVERY = 0.25  # seconds, between two looks at the number of processes
_DISK_EVERY = 1.0
_REST = 5  # looking at the disk may take a sixth of the time at most


@asynccontextmanager
async def watched(daemon: Daemon, settings: EngineSettings, progress: Progress) -> AsyncIterator[None]:
    """Cancel the block when a limit of the build is reached.

    Raises:
        BuildFailure: that has happened; the text names the limit.
    """
    async with interrupted_by(_reached(daemon, settings, progress)):
        yield


async def _reached(daemon: Daemon, settings: EngineSettings, progress: Progress) -> BuildFailure:
    refused, already = daemon.groups.refused_processes(), daemon.used
    loop = asyncio.get_running_loop()
    disk_at = loop.time() + _DISK_EVERY
    while True:
        await asyncio.sleep(_EVERY)
        if daemon.groups.refused_processes() > refused:
            return too_many_processes(settings, progress)
        if (began := loop.time()) >= disk_at:
            daemon.used = await used(daemon.directory)
            size = daemon.used - already + await in_thread(deleted, daemon.groups.steps)
            if size > settings.build_disk:
                return exceeded(settings.build_disk)
            disk_at = loop.time() + max(_DISK_EVERY, _REST * (loop.time() - began))


def too_many_processes(settings: EngineSettings, progress: Progress) -> BuildFailure:
    step = progress.failed or progress.running
    what = f"The step '{step.name[:200]}'" if step else "A step"
    message = f"{what} needs more than the {settings.build_pids} processes and threads that this server allows."
    return BuildFailure(Reason.RECIPE, message, NO_EXIT_STATUS)
