"""Simultaneous requests for the same build at several gateways."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.access.images.image_access import ImageAccess
from gateway.access.limits import Limits
from gateway.adapters.access.limits import RedisBuckets
from gateway.adapters.builds.worker_capabilities import CachedCapabilities
from gateway.domain.quota import Quota, Quotas
from gateway.domain.repositories import Repositories
from gateway.parts.requests import START_LEASE
from gateway.submit.builds.start import BuildStarter
from gateway.submit.builds.start_result import StartResult
from gateway.submit.validation import validate
from swell.api.containers import ContainerRequest
from swell.errors import TooManyRequests
from swell.oci.platform import Platform
from swell.recipes.direct import DirectPackages
from swell.store.builds import RedisBuilds
from swell.store.leases import Leases
from swell.store.workers.capabilities import WorkerCapabilities
from tests.unit.gateway.doubles import CALLER, MemoryRegistry, PublicRegistry, StubSolver
from tests.unit.gateway.submit.recipes.test_direct import request
from tests.unit.gateway.submit.test_submit import RECIPE, recipe

REPOSITORIES = Repositories(build="registry.example.com/team/builds")


class SlowSolver(StubSolver):
    """A solver that takes longer than the simultaneous requests need to arrive."""

    async def solve(self, wanted: DirectPackages, platform: Platform) -> str:
        await asyncio.sleep(0.3)
        return await super().solve(wanted, platform)


class Gateway:
    """A gateway that starts builds of new images; the limit of an anonymous client is one a day."""

    def __init__(self, redis: Redis, solver: StubSolver) -> None:
        limits = Limits(RedisBuckets(redis), Quotas(anonymous_build=Quota(1, 86400)), fail_open=False)
        leases = Leases(redis, START_LEASE)
        capabilities = CachedCapabilities(WorkerCapabilities(redis))
        builds = RedisBuilds(redis)
        access = ImageAccess(REPOSITORIES, PublicRegistry(), builds)
        self._starter = BuildStarter(
            REPOSITORIES, MemoryRegistry(), builds, limits, solver, leases, capabilities, access
        )

    async def start(self, request: ContainerRequest) -> StartResult:
        return await self._starter.start(validate(request, REPOSITORIES), [], CALLER)


@pytest.fixture
def solver() -> StubSolver:
    return SlowSolver()


@pytest.fixture
def gateways(redis: Redis, solver: StubSolver) -> list[Gateway]:
    return [Gateway(redis, solver) for _ in range(3)]


async def test_simultaneous_requests_count_one_build(gateways: list[Gateway]) -> None:
    """Nextflow submits the tasks of a process together: they share one build, which counts once."""
    results = await asyncio.gather(*(gateways[number % 3].start(RECIPE) for number in range(30)))

    assert {result.build_id for result in results} == {"bd-c44968632f89dd6c_1"}


async def test_another_build_exceeds_the_limit(gateways: list[Gateway]) -> None:
    """The limit holds across gateways."""
    await gateways[0].start(RECIPE)

    with pytest.raises(TooManyRequests):
        await gateways[1].start(recipe(2))


async def test_simultaneous_requests_solve_packages_once(gateways: list[Gateway], solver: StubSolver) -> None:
    """Solving is the most expensive step of a request."""
    results = await asyncio.gather(*(gateways[number % 3].start(request("samtools=1.17")) for number in range(9)))

    assert len({result.build_id for result in results}) == 1
    assert len(solver.asked) == 1


async def test_simultaneous_requests_share_an_error_of_the_solver(gateways: list[Gateway], solver: StubSolver) -> None:
    """The gateway solves once for all of them, and no build counts."""
    solver.impossible = "there is no samtools 9"
    asking = (gateways[0].start(request("samtools=9")) for _ in range(9))

    errors = await asyncio.gather(*asking, return_exceptions=True)

    assert [str(error) for error in errors] == ["there is no samtools 9"] * 9
    assert len(solver.asked) == 1
    assert (await gateways[1].start(RECIPE)).build_id
