"""The capabilities of builders in a real Redis, and the gateway's cache of them."""

from datetime import timedelta

from redis.asyncio import Redis

from gateway.adapters.builds.worker_capabilities import CachedCapabilities
from swell.oci.platform import Platform
from swell.store.workers.capabilities import WorkerCapabilities
from tests.e2e.client import until

AMD64, ARM64, ARM = Platform.of("linux", "amd64"), Platform.of("linux", "arm64"), Platform.of("linux", "arm")
NOTHING_FOREIGN = {"arm64": "qemu-aarch64-static", "arm": "qemu-arm-static"}


async def test_builders_with_equal_capabilities_are_one_entry(redis: Redis) -> None:
    """The number of builders, and how often they publish, does not matter."""
    for _ in range(3):
        await WorkerCapabilities(redis).publish(NOTHING_FOREIGN)
        await WorkerCapabilities(redis).publish(dict(reversed(NOTHING_FOREIGN.items())))
    await WorkerCapabilities(redis).publish({})

    published = await WorkerCapabilities(redis).all()

    assert sorted(published, key=len) == [{}, NOTHING_FOREIGN]


async def test_capabilities_expire_without_a_publisher(redis: Redis) -> None:
    """By the clock of Redis, the same for all builders; also while other builders publish."""
    brief, capabilities = WorkerCapabilities(redis, timedelta(seconds=1)), WorkerCapabilities(redis)
    await brief.publish({})
    await capabilities.publish(NOTHING_FOREIGN)

    async def only_one_is_left() -> bool:
        return await capabilities.all() == [NOTHING_FOREIGN]

    assert await until(only_one_is_left)


async def test_all_capabilities_expire_without_publishers(redis: Redis) -> None:
    """No builder is known then."""
    brief = WorkerCapabilities(redis, timedelta(seconds=1))
    await brief.publish(NOTHING_FOREIGN)

    async def none_is_left() -> bool:
        return not await brief.all() and not await redis.exists("swell:machines")

    assert await until(none_is_left)


async def test_one_builder_is_enough_for_a_platform(redis: Redis) -> None:
    """Builders may differ; for an unsupported platform, the result lists what each of them lacks."""
    capabilities = CachedCapabilities(WorkerCapabilities(redis))
    await WorkerCapabilities(redis).publish(NOTHING_FOREIGN)
    await WorkerCapabilities(redis).publish(
        {"amd64": "qemu-x86_64-static", "arm": "linux/arm in SWELL_BUILD_PLATFORMS"}
    )

    assert await capabilities.missing(AMD64) == await capabilities.missing(ARM64) == ()
    assert await capabilities.missing(ARM) == ["linux/arm in SWELL_BUILD_PLATFORMS", "qemu-arm-static"]


async def test_without_known_builders_every_platform_is_allowed(redis: Redis) -> None:
    """All builders may be restarting: builds wait for them, and the result is not cached."""
    capabilities = CachedCapabilities(WorkerCapabilities(redis))
    assert await capabilities.missing(ARM64) == ()

    await WorkerCapabilities(redis).publish(NOTHING_FOREIGN)

    assert await capabilities.missing(ARM64) == ["qemu-aarch64-static"]


async def test_only_supported_platforms_are_cached(redis: Redis) -> None:
    """An unsupported platform is checked each time, so that a new builder counts immediately."""
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
