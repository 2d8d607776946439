"""Dispatch queued builds to the builders: each client up to its share, and jobs that were lost again."""

import asyncio
from datetime import timedelta
from typing import Protocol

from gateway.domain.build_jobs import job_of
from swell.concurrency.tasks import TaskOwner
from swell.errors import Unavailable
from swell.jobs.messages import BuildJob, IndexJob, MirrorJob
from swell.log import current_trace, log, new_id, tracing
from swell.store.builds import Builds
from swell.store.records import Build

UNPUBLISHED_TIMEOUT = timedelta(seconds=5)  # after this time, the gateway that dispatched a build has crashed
LOST_TIMEOUT = timedelta(minutes=1)  # after this time, the job of an unfinished build must be in the queue
AT_ONCE = 1.0  # seconds that a request waits for the queue, which usually answers within milliseconds


class Jobs(Protocol):
    async def put(self, job: BuildJob | IndexJob | MirrorJob) -> None: ...

    async def has(self, build_id: str) -> bool:
        """Whether the job of *build_id* is in the queue or in progress."""

    async def was_lost(self) -> bool:
        """Whether the queue has lost all jobs since the last call."""


class Dispatcher:
    """Publishes the jobs of builds; at most *share* builds of one client are in progress."""

    def __init__(self, builds: Builds, jobs: Jobs, share: int) -> None:
        self._builds = builds
        self._jobs = jobs
        self._share = share
        self._tasks = TaskOwner()

    async def begin_for(self, client: str) -> None:
        """Publish the jobs of *client* that its share allows now, without waiting for a queue that does not answer.

        The builds are stored, so what is not published now is published later, by `dispatch` or `republish_lost`.
        """
        task = self._tasks.start(self._dispatch_or_log(client))
        ended, _ = await asyncio.wait({task}, timeout=AT_ONCE)
        for each in ended:
            each.result()

    async def _dispatch_or_log(self, client: str) -> None:
        try:
            await self.dispatch_for(client)
        except Unavailable as error:
            log.warning("build jobs not published yet", client=client, error=str(error))

    async def dispatch_for(self, client: str) -> None:
        """Publish the jobs of *client* that its share allows now."""
        for build_id in await self._builds.release(client, self._share):
            if build := await self._builds.get(build_id):
                await self._publish(build)

    async def dispatch(self) -> None:
        """Publish the jobs of all clients that their shares allow now."""
        for client in await self._builds.waiting():
            await self.dispatch_for(client)

    async def republish_lost(self) -> int:
        """Publish jobs again that a crashed gateway did not publish, or that the queue lost; return how many."""
        if await self._jobs.was_lost():
            await self._builds.unpublish_all()
        unpublished = await self._builds.unpublished(UNPUBLISHED_TIMEOUT)
        lost = [
            build_id for build_id in await self._builds.unfinished(LOST_TIMEOUT) if not await self._jobs.has(build_id)
        ]
        missing = dict.fromkeys(unpublished + lost)
        for build_id in missing:
            build = await self._builds.get(build_id)
            if build and not build.result:
                await self._publish(build)
            else:
                await self._builds.forget(build_id)
        return len(missing)

    async def _publish(self, build: Build) -> None:
        # The build may be of another request than this one.
        with tracing(current_trace().request_id or new_id(), build.submission.traceparent):
            await self._jobs.put(job_of(build))
        await self._builds.published(build.id)
