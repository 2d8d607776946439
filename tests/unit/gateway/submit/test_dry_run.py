"""A dry run computes names without registries: what it cannot determine is missing, with a warning."""

import base64

import pytest

from gateway.submit.submit import ContainerRequests
from swell.api.containers import ContainerConfig, ContainerRequest
from swell.errors import BadRequest, Denied, SwellError, TooManyRequests, Unavailable, UpstreamBroken
from tests.unit.gateway.doubles import CALLER, KnownInspections, MemoryQueue, MemoryRegistry

FILE = base64.b64encode(b"FROM alpine:3.20\nRUN apk add jq\n").decode()
TROUBLES = [
    UpstreamBroken("quay.io cannot be resolved"),
    Unavailable("quay.io failed several times", retry_after=5),
    TooManyRequests("quay.io limits requests", retry_after=5),
]


def dry(**fields: object) -> ContainerRequest:
    return ContainerRequest(dry_run=True, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("repository", [None, "quay.io/acme/images"])
async def test_the_name_needs_no_registry(
    container_requests: ContainerRequests,
    registry: MemoryRegistry,
    queue: MemoryQueue,
    trouble: SwellError,
    repository: str | None,
) -> None:
    """The server's own repository, or the client's. `cached` is missing, and the warning says why."""
    named = await container_requests.submit(dry(container_file=FILE, build_repository=repository), CALLER)
    registry.trouble = trouble
    answer = await container_requests.submit(dry(container_file=FILE, build_repository=repository), CALLER)
    assert answer.container_image == named.container_image
    assert (named.cached, named.warnings) == (False, ())
    assert (answer.build_id, answer.cached, answer.succeeded) == (named.build_id, None, True)
    (warning,) = answer.warnings
    assert warning.startswith(f"whether {named.container_image} exists is unknown: ")
    assert str(trouble) in warning
    assert queue.jobs == []


async def test_a_request_that_is_no_dry_run_still_fails(
    container_requests: ContainerRequests, registry: MemoryRegistry
) -> None:
    """A build could not be pushed."""
    registry.trouble = TROUBLES[0]
    with pytest.raises(Unavailable, match="the registry that builds are pushed to is unavailable"):
        await container_requests.submit(ContainerRequest(container_file=FILE), CALLER)


async def test_a_refused_push_is_no_outage(container_requests: ContainerRequests, registry: MemoryRegistry) -> None:
    """The client can change it, so it is an error in a dry run too."""
    registry.trouble = Denied("quay.io refuses access")
    with pytest.raises(Denied):
        await container_requests.submit(dry(container_file=FILE, build_repository="quay.io/acme/images"), CALLER)


async def test_an_image_that_cannot_be_read_has_its_own_name(
    container_requests: ContainerRequests, registry: MemoryRegistry
) -> None:
    """Only whether it exists is unknown; one that does not exist is still refused."""
    with pytest.raises(BadRequest, match="does not exist"):
        await container_requests.submit(dry(container_image="debian:12"), CALLER)
    registry.trouble = TROUBLES[0]
    answer = await container_requests.submit(dry(container_image="debian:12"), CALLER)
    assert (answer.container_image, answer.succeeded) == ("docker.io/library/debian:12", None)
    assert answer.warnings == (
        "container image docker.io/library/debian:12 cannot be read: quay.io cannot be resolved",
    )


async def test_included_images_are_no_part_of_the_name(
    container_requests: ContainerRequests, inspections: KnownInspections, registry: MemoryRegistry
) -> None:
    """With freeze they are: their layers are built into the image, so the dry run fails as the request would."""
    inspections.trouble = TROUBLES[0]
    included = dry(container_file=FILE, container_includes=("docker.io/library/tools:1",))
    answer = await container_requests.submit(included, CALLER)
    assert answer.container_image == (await container_requests.submit(dry(container_file=FILE), CALLER)).container_image
    (warning,) = answer.warnings
    assert warning.startswith("containerIncludes: ") and "quay.io cannot be resolved" in warning
    config = ContainerConfig(env=("A=1",))
    frozen = dry(container_file=FILE, container_config=config, freeze=True, build_repository="quay.io/acme/images")
    with pytest.raises(UpstreamBroken):
        await container_requests.submit(frozen, CALLER)
