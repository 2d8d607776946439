"""Scopes of a key: which container requests it may send."""

from typing import Any

import pytest

from gateway.domain.access.identity import PUBLIC_SCOPES, Caller, Identity, Scope
from gateway.submit.submit import ContainerRequests
from swell.errors import ScopeRequired
from swell.registry.credentials.principal import OPERATOR
from tests.unit.gateway.doubles import MemoryQueue, MemoryRegistry

from .test_validation import FILE, request

IMAGE = "docker.io/library/ubuntu:24.04"
MIRROR = {"containerImage": IMAGE, "mirror": True, "buildRepository": "quay.io/acme", "towerAccessToken": "key"}


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({"containerFile": FILE}, Scope.BUILD),
        ({"containerImage": IMAGE, "freeze": True, "buildRepository": "quay.io/acme"}, Scope.BUILD),
        ({"containerImage": IMAGE}, Scope.PULL),
        (MIRROR, Scope.MIRROR),
        ({"containerFile": FILE, "scanMode": "async"}, Scope.SCAN),
    ],
)
@pytest.mark.parametrize("is_dry", [True, False])
async def test_a_request_needs_the_scope_of_what_it_does(
    container_requests: ContainerRequests,
    queue: MemoryQueue,
    registry: MemoryRegistry,
    fields: dict[str, Any],
    needed: Scope,
    is_dry: bool,
) -> None:
    """A key that lacks only this scope starts nothing, and the message says which one is missing."""
    identity = Identity(user="ci", scopes=PUBLIC_SCOPES - {needed})
    caller = Caller(identity, "203.0.113.7", OPERATOR, OPERATOR)

    with pytest.raises(ScopeRequired, match=f"the scope {needed};"):
        await container_requests.submit(request(**fields, dryRun=is_dry), caller)

    assert not queue.jobs


async def test_a_key_with_one_scope_does_that(container_requests: ContainerRequests, registry: MemoryRegistry) -> None:
    """A key that may only pull gets a token for an image."""
    registry.push(IMAGE)
    caller = Caller(Identity(user="ci", scopes=frozenset({Scope.PULL})), "203.0.113.7", OPERATOR, OPERATOR)

    answer = await container_requests.submit(request(containerImage=IMAGE), caller)

    assert answer.container_token
