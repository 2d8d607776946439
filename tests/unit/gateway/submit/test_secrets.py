"""Build secrets in requests: who may use them, and what depends on them."""

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.domain.identity import Caller, Identity
from gateway.domain.repositories import Repositories
from gateway.submit.submit import ContainerRequests
from gateway.submit.validation import validate
from swell.errors import BadRequest, ScopeRequired, SwellError, TooLarge
from swell.registry.principal import OPERATOR
from tests.unit.gateway.doubles import CALLER, MemoryQueue

from .test_validation import FILE, request

HOLDER = Caller(Identity(user="ada", secrets=frozenset({"npm", "pip"})), "203.0.113.7", OPERATOR, OPERATOR)


def wanted(**secrets: str) -> dict[str, Any]:
    return {"containerFile": FILE, "buildSecrets": secrets}


async def test_the_builder_gets_the_names_of_secrets(container_requests: ContainerRequests, queue: MemoryQueue) -> None:
    """Only names: the gateway does not have the content. Another name is another build."""
    plain = await container_requests.submit(request(containerFile=FILE), HOLDER)
    first = await container_requests.submit(request(**wanted(token="npm")), HOLDER)
    other = await container_requests.submit(request(**wanted(token="pip")), HOLDER)

    assert len({plain.build_id, first.build_id, other.build_id}) == 3
    assert queue.jobs[1].options.build_secrets == {"token": "npm"}


@pytest.mark.parametrize("caller", [CALLER, replace(HOLDER, identity=Identity(user="ada", secrets=frozenset({"pip"})))])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_secret_needs_a_key_that_names_it(
    container_requests: ContainerRequests, queue: MemoryQueue, caller: Caller, dry_run: bool
) -> None:
    """Also for clients that may use every other credential of the operator, and for a build that exists already."""
    await container_requests.submit(request(**wanted(token="npm")), HOLDER)

    with pytest.raises(ScopeRequired, match="secret npm"):
        await container_requests.submit(request(**wanted(token="npm"), dryRun=dry_run), caller)

    assert len(queue.jobs) == 1


def test_steps_with_secrets_stay_out_of_the_servers_cache() -> None:
    """Clients without the secret read that cache; a cache of the client's own is the client's."""
    repositories = Repositories(build="r.example/build", cache="r.example/cache")
    own = {"buildRepository": "quay.io/me/images", "cacheRepository": "quay.io/me/cache"}

    assert validate(request(containerFile=FILE), repositories).cache_repository == "r.example/cache"
    assert validate(request(**wanted(a="npm")), repositories).cache_repository is None
    assert validate(request(**wanted(a="npm"), **own), repositories).cache_repository == "quay.io/me/cache"


def test_steps_with_proxies_of_the_client_stay_out_of_the_servers_cache() -> None:
    """Others with the same step would get what it has downloaded through the proxy of a stranger."""
    repositories = Repositories(build="r.example/build", cache="r.example/cache")

    for name in ("http_proxy", "HTTPS_PROXY", "All_Proxy", "no_proxy", "ftp_proxy"):
        wanted = request(containerFile=FILE, buildArgs={name: "http://proxy.example:3128"})
        assert validate(wanted, repositories).cache_repository is None


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (wanted(**{"a,src=/etc/passwd": "npm"}), BadRequest, "neither an id"),
        (wanted(a="../npm"), BadRequest, "neither an id"),
        (wanted(**{f"s{number}": "npm" for number in range(11)}), TooLarge, "more than 10"),
        ({"containerImage": "a", "buildSecrets": {"a": "npm"}}, BadRequest, "need a containerFile"),
    ],
)
async def test_invalid_secrets_are_refused(
    container_requests: ContainerRequests, fields: dict[str, Any], error: type[SwellError], message: str
) -> None:
    """Names and ids become arguments of the engine."""
    with pytest.raises(error, match=message):
        await container_requests.submit(request(**fields), HOLDER)
