"""The same build asked for at several gateways at once."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.__main__ import START_LEASE
from gateway.access.image_access import ImageAccess
from gateway.access.limits import Limits
from gateway.adapters.access.limits import RedisBuckets
from gateway.adapters.worker_capabilities import CachedCapabilities
from gateway.domain.quota import Quota, Quotas
from gateway.domain.repositories import Repositories
from gateway.submit.recipes.direct import DirectPackages
from gateway.submit.start import BuildStarter, StartResult
from gateway.submit.validation import validate
from swell.api.containers import ContainerRequest
from swell.errors import TooManyRequests
from swell.oci.platform import Platform
from swell.store.builds import RedisBuilds
from swell.store.leases import Leases
from swell.store.worker_capabilities import WorkerCapabilities
from tests.unit.gateway.conftest import SOMEBODY, MemoryRegistry, PublicRegistry, StubSolver
from tests.unit.gateway.test_direct import request
from tests.unit.gateway.test_provision import RECIPE, recipe

REPOSITORIES = Repositories(build="registry.example.com/team/builds")


class SlowSolver(StubSolver):
    """Takes so long that all concurrent requests have arrived."""

    async def solve(self, wanted: DirectPackages, platform: Platform) -> str:
        await asyncio.sleep(0.3)
        return await super().solve(wanted, platform)


class Gateway:
    """Starts builds of images that do not exist; an anonymous client has one permit per day."""

    def __init__(self, redis: Redis, solver: StubSolver) -> None:
        limits = Limits(RedisBuckets(redis), Quotas(anonymous_build=Quota(1, 86400)), fail_open=False)
        leases = Leases(redis, START_LEASE)
        capabilities = CachedCapabilities(WorkerCapabilities(redis))
        builds = RedisBuilds(redis)
        access = ImageAccess(REPOSITORIES, PublicRegistry(), builds)
        self._starter = BuildStarter(
            REPOSITORIES, MemoryRegistry(), builds, limits, solver, leases, capabilities, access
        )

    async def start(self, wanted: ContainerRequest) -> StartResult:
        return await self._starter.start(validate(wanted, REPOSITORIES), [], SOMEBODY)


@pytest.fixture
def solver() -> StubSolver:
    return SlowSolver()


@pytest.fixture
def gateways(redis: Redis, solver: StubSolver) -> list[Gateway]:
    return [Gateway(redis, solver) for _ in range(3)]


async def test_a_build_counts_once_however_many_ask_for_it_at_once(gateways: list[Gateway]) -> None:
    """Nextflow submits a process's tasks together: they share a build, and so its place among the client's few."""
    found = await asyncio.gather(*(gateways[number % 3].start(RECIPE) for number in range(30)))

    assert {each.build_id for each in found} == {"bd-c44968632f89dd6c_1"}


async def test_another_build_is_one_too_many(gateways: list[Gateway]) -> None:
    """Two different builds use two permits."""
    await gateways[0].start(RECIPE)

    with pytest.raises(TooManyRequests):
        await gateways[1].start(recipe(2))


async def test_packages_are_solved_once_however_many_ask_for_them_at_once(
    gateways: list[Gateway], solver: StubSolver
) -> None:
    """Solving is the dearest thing that a request can ask for."""
    found = await asyncio.gather(*(gateways[number % 3].start(request("samtools=1.17")) for number in range(9)))

    assert len({each.build_id for each in found}) == 1
    assert len(solver.asked) == 1


async def test_packages_that_do_not_exist_are_told_to_all_at_once(gateways: list[Gateway], solver: StubSolver) -> None:
    """A gateway asks once for all who came together, and nothing counts."""
    solver.impossible = "there is no samtools 9"
    asking = (gateways[0].start(request("samtools=9")) for _ in range(9))

    told = await asyncio.gather(*asking, return_exceptions=True)

    assert [str(each) for each in told] == ["there is no samtools 9"] * 9
    assert len(solver.asked) == 1
    assert (await gateways[1].start(RECIPE)).build_id
