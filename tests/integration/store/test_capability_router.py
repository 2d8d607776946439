"""Builders that differ publish their capabilities in a real Redis, and take the builds that they can run."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest
from redis.asyncio import Redis

from builder.adapters.worker_capabilities import CapabilityRouter
from builder.domain.failure import BuildFailure
from builder.steps import Steps
from swell.api.package_layers import PackageLayers
from swell.errors import Unavailable
from swell.jobs.messages import BuildJob
from swell.store.records import Reason
from swell.store.workers.capabilities import WorkerCapabilities
from swell.store.workers.engines import EngineNames
from tests.e2e.client import until

LACKING = {"arm64": "qemu-aarch64-static"}
STEPS = "FROM alpine\nRUN true\n"


class Builder:
    """A builder of the fleet; *done* is what it was given to do."""

    def __init__(self, redis: Redis, lacking: dict[str, str]) -> None:
        self.fleet = CapabilityRouter(WorkerCapabilities(redis), lambda: lacking)
        self.done: list[str] = []
        self.take = partial(self.fleet.take, self._handle)

    async def _handle(self, job: BuildJob, _delivery: int) -> None:
        self.done.append(job.id)


def job(platform: str = "linux/arm64", containerfile: str = STEPS, packages: PackageLayers | None = None) -> BuildJob:
    return BuildJob(
        id="bd-1_1", target_image="r.io/a:1", containerfile=containerfile, platform=platform, packages=packages
    )


async def test_what_only_another_builder_can_do_is_left_to_it(redis: Redis) -> None:
    """The job goes back into the queue until one of those takes it."""
    native, foreign = Builder(redis, LACKING), Builder(redis, {"amd64": "qemu-x86_64-static"})
    publish_forever = [asyncio.create_task(each.fleet.publish_forever()) for each in (native, foreign)]

    async def all_are_published() -> bool:
        return len(await WorkerCapabilities(redis).all()) == 2

    await until(all_are_published)
    for task in publish_forever:
        task.cancel()
    await asyncio.wait(publish_forever, timeout=5)

    with pytest.raises(Unavailable, match="linux/arm64"):
        await native.take(job(), 1)
    await foreign.take(job(), 2)

    assert (native.done, foreign.done) == ([], ["bd-1_1"])
    assert all(task.cancelled() for task in publish_forever)


@pytest.mark.parametrize(
    "work",
    [
        job("linux/amd64"),
        job(containerfile="FROM alpine\nCOPY a /\n"),
        job(packages=PackageLayers(base_image="alpine", lock="")),
    ],
    ids=["native", "files", "packages"],
)
async def test_a_builder_takes_a_job_that_it_can_run(redis: Redis, work: BuildJob) -> None:
    """Other builders are not consulted."""
    await WorkerCapabilities(redis).publish({})
    builder = Builder(redis, LACKING)

    await builder.take(work, 1)

    assert builder.done == [work.id]


async def test_a_build_that_no_worker_can_run_is_taken_by_the_first(redis: Redis) -> None:
    """It fails there with a reason. Otherwise workers would pass it on for ever."""
    await WorkerCapabilities(redis).publish(LACKING)
    builder = Builder(redis, LACKING)

    await builder.take(job(), 1)

    assert builder.done == ["bd-1_1"]


async def test_the_engine_of_a_builder_is_published(redis: Redis) -> None:
    """With its version, for as long as a builder with it runs."""
    engines = EngineNames(redis, timedelta(seconds=30))
    fleet = CapabilityRouter(WorkerCapabilities(redis), dict, engines, "buildkit 0.34.2")
    publishing = asyncio.create_task(fleet.publish_forever())
    try:

        async def is_published() -> bool:
            return await engines.names() == ["buildkit 0.34.2"]

        await until(is_published)
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)


class BrokenEngine:
    async def run_step(self) -> None:
        raise BuildFailure(Reason.ENGINE, "runc: operation not permitted")


async def test_a_builder_without_steps_takes_only_what_needs_none(redis: Redis) -> None:
    """Builds with steps wait for another builder, or for this machine to be repaired; its engine is not listed."""
    steps, engines, done = Steps(BrokenEngine()), EngineNames(redis), list[str]()
    await steps.try_one()
    router = CapabilityRouter(WorkerCapabilities(redis), dict, engines, "buildkit 0.34.2", steps)

    async def handle(job: BuildJob, _delivery: int) -> None:
        done.append(job.containerfile)

    with pytest.raises(Unavailable, match="operation not permitted"):
        await router.take(handle, job(), 1)
    await router.take(handle, job(containerfile="FROM alpine\nENV A=1\n"), 1)
    publishing = asyncio.create_task(router.publish_forever())

    async def is_published() -> bool:
        return bool(await WorkerCapabilities(redis).all())

    await until(is_published)
    publishing.cancel()
    (missing,) = await WorkerCapabilities(redis).all()

    assert done == ["FROM alpine\nENV A=1\n"]
    assert "operation not permitted" in missing["amd64"]
    assert await engines.names() == []
