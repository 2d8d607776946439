"""Letting builds into the queue: each client within its share, and none forgotten."""

from datetime import timedelta
from typing import Protocol

from gateway.domain.definition import translate
from swell.build_spec import carry
from swell.jobs.messages import BuildJob, IndexJob
from swell.store.builds import Builds
from swell.store.records import Build

REAP_AFTER = timedelta(seconds=5)  # whoever releases a build publishes its job within this time, or its gateway is gone
LOST_AFTER = timedelta(minutes=1)  # a build released so long ago that has not ended must be in the queue


class Jobs(Protocol):
    async def put(self, job: BuildJob | IndexJob) -> None: ...

    async def has(self, build_id: str) -> bool:
        """Whether the job of *build_id* waits in the queue or is being done."""


class Dispatcher:
    """A client may have *at_once* builds under way."""

    def __init__(self, builds: Builds, jobs: Jobs, at_once: int) -> None:
        self._builds = builds
        self._jobs = jobs
        self._at_once = at_once

    async def release_for(self, client: str) -> None:
        """Publish what *client*'s share of the builds under way lets go."""
        for build_id in await self._builds.release(client, self._at_once):
            if build := await self._builds.get(build_id):
                await self._publish(build)

    async def release(self) -> None:
        """Publish the builds that waited for others of their clients to end."""
        for client in await self._builds.waiting():
            await self.release_for(client)

    async def reap(self) -> int:
        """Publish the jobs of builds whose gateway died between releasing and publishing, and of those that the queue
        has lost; answers how many."""
        orphans = await self._builds.unpublished(REAP_AFTER)
        lost = [
            build_id for build_id in await self._builds.unfinished(LOST_AFTER) if not await self._jobs.has(build_id)
        ]
        reaped = dict.fromkeys(orphans + lost)
        for build_id in reaped:
            build = await self._builds.get(build_id)
            if build and not build.result:
                await self._publish(build)
            else:
                await self._builds.forget(build_id)
        return len(reaped)

    async def _publish(self, build: Build) -> None:
        await self._jobs.put(_job(build))
        await self._builds.published(build.id)


def _job(build: Build) -> BuildJob | IndexJob:
    submission = build.submission
    if submission.children:
        return IndexJob(
            id=build.id,
            target_image=submission.target_image,
            platform=submission.platform,
            organisation=submission.organisation,
            push_principal=submission.push_principal,
        )
    made = translate(submission.containerfile) if submission.sif else None
    return carry(
        submission,
        BuildJob,
        id=build.id,
        containerfile=made.containerfile if made else submission.containerfile,
        context=submission.context,
        layers=submission.layers,
        organisation=submission.organisation,
        sif=made.definition if made else None,
    )
