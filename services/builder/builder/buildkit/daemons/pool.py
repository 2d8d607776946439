"""Daemons that wait for their next build, each for builds of one group.

A group is all builds of one tenant that may read the same private base images and use the same layer cache: layers
that a daemon has stored are used again without asking whether the next build could have read or made them. A daemon
serves one build at a time.
"""

import asyncio
import hashlib
import shutil
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec
from prometheus_client import Gauge

from builder.adapters.disk import used
from builder.buildkit.daemons.daemon import Daemon
from builder.engine import Recipe
from builder.settings import EngineSettings
from swell.concurrency.tasks import TaskOwner
from swell.disk import in_thread
from swell.log import log
from swell_sandbox import SandboxUnavailable
from swell_sandbox.workspace import remove

DAEMONS = Gauge("swell_buildkit_daemons", "BuildKit daemons that build, or that wait for a build.", ["state"])

Open = Callable[[], AbstractAsyncContextManager[Daemon]]


class _Opened:
    """A daemon and how to close it; `group` is the group of builds that it serves, None before its first build."""

    def __init__(self, daemon: Daemon, closing: AsyncExitStack) -> None:
        self.daemon = daemon
        self.closing = closing
        self.group: str | None = None


class DaemonPool:
    """Opens daemons with *opening*, one of them in advance."""

    def __init__(self, settings: EngineSettings, opening: Open) -> None:
        self._settings = settings
        self._opening = opening
        self._idle: deque[_Opened] = deque()
        self._blank: asyncio.Task[_Opened] | None = None
        self._tasks = TaskOwner()
        self._closed = False

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: EngineSettings, opening: Open) -> AsyncIterator[Self]:
        """Begin; behind the block all daemons have ended."""
        pool = cls(settings, opening)
        try:
            yield pool
        finally:
            await pool._close()

    @asynccontextmanager
    async def take(self, group: str) -> AsyncIterator["Lease"]:
        """A daemon for one build of *group*.

        It is used again if the caller calls `keep` on the lease; otherwise it ends with the block.

        Raises:
            SandboxUnavailable: it cannot be opened here.
            OSError: the disk is full, for example.
        """
        opened = await self._take(group)
        opened.group = group
        opened.daemon.builds += 1
        opened.daemon.prepare_client()
        lease = Lease(opened.daemon)
        self._count()
        try:
            with DAEMONS.labels("busy").track_inprogress():
                yield lease
        finally:
            if lease.is_kept and self._may_stay(opened.daemon):
                self._idle.append(opened)
                self._background(self._tidy(opened, lease.discarded))
            else:
                await opened.closing.aclose()
            self._trim()
            self._count()
            self.prepare()

    def prepare(self) -> None:
        """Open a daemon in advance: a small build would wait for it."""
        if self._blank is None and not self._closed:
            self._blank = asyncio.create_task(self._open())  # no group: `_take` and `_close` await it

    async def _take(self, group: str) -> _Opened:
        for opened in reversed(self._idle):
            if opened.group == group and self._may_stay(opened.daemon):
                self._idle.remove(opened)
                return opened
        if self._blank is not None:
            task, self._blank = self._blank, None
            try:
                opened = await asyncio.shield(task)
            except asyncio.CancelledError:
                if task.done():
                    raise
                self._blank = self._blank or task
                raise
            except (SandboxUnavailable, OSError):
                pass
            else:
                if opened.daemon.is_running:
                    return opened
                await opened.closing.aclose()
        return await self._open()

    async def _open(self) -> _Opened:
        async with AsyncExitStack() as closing:
            daemon = await closing.enter_async_context(self._opening())
            return _Opened(daemon, closing.pop_all())

    def _may_stay(self, daemon: Daemon) -> bool:
        settings = self._settings
        return (
            daemon.is_running
            and time.monotonic() - daemon.born < settings.buildkit_daemon_age.total_seconds()
            and daemon.used < settings.buildkit_cache
            and shutil.disk_usage(settings.workspace).free > settings.base_cache_free
        )

    def _trim(self) -> None:
        """End the daemons that may not wait any longer, and the longest unused ones beyond the allowed number."""
        for opened in list(self._idle):
            if len(self._idle) > self._settings.buildkit_idle_daemons or not self._may_stay(opened.daemon):
                self._idle.remove(opened)
                self._background(opened.closing.aclose())

    async def _tidy(self, opened: _Opened, discarded: Sequence[Path]) -> None:
        await opened.daemon.ending.wait()  # for buildctl, which may still write its result
        opened.daemon.prepare_client()
        for path in discarded:
            await in_thread(remove, path)
        opened.daemon.used = await used(opened.daemon.directory)

    def _count(self) -> None:
        DAEMONS.labels("idle").set(len(self._idle))

    def _background(self, work: Awaitable[None]) -> None:
        self._tasks.start(_logged(work))

    async def _close(self) -> None:
        self._closed = True
        if self._blank is not None:
            self._blank.cancel()
            with suppress(asyncio.CancelledError, SandboxUnavailable, OSError):
                opened = await self._blank
                await opened.closing.aclose()
        while self._idle:
            await self._idle.popleft().closing.aclose()
        await self._tasks.wait()


class Lease:
    """The use of a daemon for one build."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.is_kept = False
        self.discarded: list[Path] = []

    def discard(self, path: Path) -> None:
        """Remove *path*, in the folder of the daemon, after the build. The build does not wait for that."""
        self.discarded.append(path)

    def keep(self) -> None:
        """The build has left nothing that the next one should not meet: use the daemon again."""
        self.is_kept = True


async def _logged(work: Awaitable[None]) -> None:
    try:
        await work
    except Exception:  # noqa: BLE001  (nothing waits for it)
        log.exception("a BuildKit daemon was not closed")


def group_of(recipe: Recipe, pulls: bytes) -> str:
    """Return the group of *recipe*: builds of a tenant with equal credentials, secrets, proxies and layer cache.

    The contents of credentials and secrets count. A daemon gives every build the layers that it has stored, by digest:
    a base image of a hostile registry could name a layer that another tenant's build has made of its own files.

    *pulls* is the auth file of the build. A build that uses a layer cache trusts the writers of this cache, because
    the daemon stores the layers that it imports. BuildKit's key of a step has the ids of secrets, not their contents,
    and no proxies, so another client with the same step would get its result.
    """
    unkeyed = msgspec.json.encode((recipe.secrets, recipe.options.proxies), order="deterministic")
    cache = (recipe.cache_repository or "").encode()
    parts = (recipe.principal.encode(), pulls, cache, unkeyed, recipe.tenant.encode())
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
