"""Which repository stores the steps of a build in a repository of the server."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.domain.access.identity import Caller, Identity
from gateway.domain.repositories import Repositories
from gateway.domain.server_config import ServerConfig
from gateway.submit.submit import ContainerRequests
from swell.registry.credentials.principal import OPERATOR
from tests.unit.gateway.doubles import CALLER, MemoryQueue

from .test_validation import FILE, request

BUILD, CACHE = "registry.example.com/team/builds", "registry.example.com/team/cache"
ADA, BOB, EVE = (
    Caller(Identity(user=user, organisation=organisation), "203.0.113.7", OPERATOR, OPERATOR)
    for user, organisation in (("ada", "acme.org"), ("bob", "acme.org"), ("eve", "other/../org"))
)


@pytest.fixture
def server_config() -> ServerConfig:
    return ServerConfig(
        server_url="https://wave.example.org",
        repositories=Repositories(build=BUILD, cache=CACHE),
        token_ttl=timedelta(hours=1),
    )


async def test_the_servers_cache_is_shared_within_an_organisation_only(
    container_requests: ContainerRequests, queue: MemoryQueue
) -> None:
    """A step may contain what only an organisation may see. Clients without an organisation share one cache."""
    callers = (ADA, BOB, EVE, CALLER)
    for number, caller in enumerate(callers):
        await container_requests.submit(request(containerFile=FILE, labels={"n": str(number)}), caller)

    ada, bob, eve, anonymous = (job.cache_repository or "" for job in queue.jobs)
    assert ada == bob and len({ada, eve, anonymous}) == 3
    assert anonymous == CACHE
    assert all(cache.startswith(f"{CACHE}/org-") and ".." not in cache for cache in (ada, eve))


async def test_a_cache_of_the_client_stays_as_it_is(container_requests: ContainerRequests, queue: MemoryQueue) -> None:
    """Its repository has its own rules of access. A build without a cache gets none."""
    own = {"buildRepository": "quay.io/me/images", "cacheRepository": "quay.io/me/cache"}
    await container_requests.submit(request(containerFile=FILE, **own), ADA)
    without = {"buildRepository": "quay.io/me/images", "target": "another-build"}
    await container_requests.submit(request(containerFile=FILE, **without), ADA)

    assert [job.cache_repository for job in queue.jobs] == ["quay.io/me/cache", None]


def test_without_a_cache_no_organisation_has_one() -> None:
    """The operator decides whether steps are stored."""
    assert Repositories(build=BUILD).cache_of("acme.org") is None
    assert replace(Repositories(build=BUILD), cache=CACHE).cache_of("") == CACHE
