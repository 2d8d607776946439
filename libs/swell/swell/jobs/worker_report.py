"""Report this worker to the operator, and follow the operator's drain."""

import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from swell.api.operator import DiskUse, Worker
from swell.concurrency.periodic import every
from swell.jobs.pause import Pause
from swell.store.workers.running_workers import Workers, worker_id

INTERVAL = timedelta(seconds=5)
Describe = Callable[[], Mapping[str, Any]]
"""Returns more fields of the `Worker`: its engine, platforms, slots, problem."""


class WorkerReport:
    """The report of the *service* that listens at *listen*; *folders* are those whose disks it shows, by name.

    The consumers that share *pause* take no messages while the operator drains the worker.
    """

    def __init__(
        self,
        workers: Workers,
        service: str,
        listen: str,
        *,
        describe: Describe = dict,
        folders: Mapping[str, Path] | None = None,
        pause: Pause | None = None,
    ) -> None:
        self._workers = workers
        self._id, self._service = worker_id(listen), service
        self._describe = describe
        self._folders = folders or {}
        self._pause = pause or Pause()
        self._version = version("swell")
        self._started = datetime.now(UTC)

    async def run(self) -> None:
        """Publish the report every 5 s until cancelled."""
        await every(INTERVAL, self.publish, event="worker not reported")

    async def publish(self) -> None:
        """Publish the report, and again when that changes the pause; raises `Unavailable`."""
        drained = await self._workers.publish(self._report())
        if drained != self._pause.is_active:
            self._pause.set(active=drained)
            await self._workers.publish(self._report())

    def _report(self) -> Worker:
        return Worker(
            id=self._id,
            service=self._service,
            version=self._version,
            started=self._started,
            running=self._pause.running,
            disks=tuple(_disks(self._folders)),
            paused=self._pause.is_active,
            **self._describe(),
        )


def _disks(folders: Mapping[str, Path]) -> list[DiskUse]:
    """The disks of *folders*; those that cannot be read are left out."""
    disks = []
    for name, folder in folders.items():
        try:
            use = shutil.disk_usage(folder)
        except OSError:
            continue
        disks.append(DiskUse(name=name, total=use.total, free=use.free))
    return disks
