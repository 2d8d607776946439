"""What builders' machines lack, as it is told in a real Redis."""

from datetime import timedelta

from redis.asyncio import Redis

from gateway.adapters.worker_capabilities import CachedCapabilities
from swell.oci.platform import Platform
from swell.store.worker_capabilities import WorkerCapabilities
from tests.e2e.client import until

AMD64, ARM64, ARM = Platform.of("linux", "amd64"), Platform.of("linux", "arm64"), Platform.of("linux", "arm")
NOTHING_FOREIGN = {"arm64": "qemu-aarch64-static", "arm": "qemu-arm-static"}


async def test_builders_whose_machines_are_alike_are_told_once(redis: Redis) -> None:
    """However many there are, and however often they tell it."""
    for _ in range(3):
        await WorkerCapabilities(redis).publish(NOTHING_FOREIGN)
        await WorkerCapabilities(redis).publish(dict(reversed(NOTHING_FOREIGN.items())))
    await WorkerCapabilities(redis).publish({})

    told = await WorkerCapabilities(redis).all()

    assert sorted(told, key=len) == [{}, NOTHING_FOREIGN]


async def test_a_machine_that_nobody_tells_of_any_more_is_forgotten(redis: Redis) -> None:
    """By the clock of Redis, which is the same for all; also when others go on telling."""
    brief, capabilities = WorkerCapabilities(redis, timedelta(seconds=1)), WorkerCapabilities(redis)
    await brief.publish({})
    await capabilities.publish(NOTHING_FOREIGN)

    async def only_one_is_left() -> bool:
        return await capabilities.all() == [NOTHING_FOREIGN]

    assert await until(only_one_is_left)


async def test_all_machines_are_forgotten_when_nobody_tells(redis: Redis) -> None:
    brief = WorkerCapabilities(redis, timedelta(seconds=1))
    await brief.publish(NOTHING_FOREIGN)

    async def none_is_left() -> bool:
        return not await brief.all() and not await redis.exists("swell:machines")

    assert await until(none_is_left)


async def test_what_one_builder_runs_can_be_run(redis: Redis) -> None:
    """Builders may differ; what nobody runs, each says what it needs for."""
    capabilities = CachedCapabilities(WorkerCapabilities(redis))
    await WorkerCapabilities(redis).publish(NOTHING_FOREIGN)
    await WorkerCapabilities(redis).publish(
        {"amd64": "qemu-x86_64-static", "arm": "linux/arm in SWELL_BUILD_PLATFORMS"}
    )

    assert await capabilities.missing(AMD64) == await capabilities.missing(ARM64) == ()
    assert await capabilities.missing(ARM) == ["linux/arm in SWELL_BUILD_PLATFORMS", "qemu-arm-static"]


async def test_while_no_builder_is_known_nothing_is_impossible(redis: Redis) -> None:
    """They may all be started anew: a build waits for them, and nothing of this is kept in mind."""
    capabilities = CachedCapabilities(WorkerCapabilities(redis))
    assert await capabilities.missing(ARM64) == ()

    await WorkerCapabilities(redis).publish(NOTHING_FOREIGN)

    assert await capabilities.missing(ARM64) == ["qemu-aarch64-static"]


async def test_what_can_be_run_is_not_asked_for_each_time(redis: Redis) -> None:
    """But now and then; what cannot is asked for each time, and is possible as soon as some builder says so."""
    clock = 1000.0
    capabilities = CachedCapabilities(WorkerCapabilities(redis), timedelta(seconds=30), lambda: clock)
    await WorkerCapabilities(redis).publish(NOTHING_FOREIGN)
    assert [await capabilities.missing(each) for each in (AMD64, ARM64)] == [(), ["qemu-aarch64-static"]]
    await WorkerCapabilities(redis).publish({})
    assert await capabilities.missing(ARM64) == ()

    await redis.delete("swell:machines")
    await WorkerCapabilities(redis).publish({"amd64": "another machine"})

    clock += 29
    assert await capabilities.missing(AMD64) == ()
    clock += 2
    assert await capabilities.missing(AMD64) == ["another machine"]
