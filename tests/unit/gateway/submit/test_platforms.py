"""Builds for platforms that no builder supports are refused immediately."""

import pytest

from gateway.submit.submit import ContainerRequests
from swell.api.containers import ContainerConfig, ContainerRequest
from swell.api.packages import Packages, PackageType
from swell.errors import PlatformUnsupported
from swell.store.builds.memory import MemoryBuilds
from tests.unit.gateway.doubles import (
    CALLER,
    CountedBuilds,
    KnownCapabilities,
    MemoryGrants,
    MemoryQueue,
    MemoryRegistry,
    ended,
)
from tests.unit.gateway.submit.test_artifacts import BOTH, DEFINITION, MINE, encoded

LACKING = "qemu-aarch64-static (Debian's qemu-user-static)"
STEPS = encoded("FROM debian:12\nRUN true\n")
FILES = encoded("FROM debian:12\nCOPY a /\n")
ENTERED = encoded('FROM debian:12\nENTRYPOINT ["a"]\n')
CONFIG = ContainerConfig(env=("A=1",))
SAMTOOLS = Packages(type=PackageType.CONDA, entries=("samtools=1.17",))


@pytest.fixture
def capabilities() -> KnownCapabilities:
    """No builder supports arm64."""
    capabilities = KnownCapabilities()
    capabilities.unsupported["arm64"] = LACKING
    return capabilities


def container_request(platform: str = "linux/arm64", **fields: object) -> ContainerRequest:
    return ContainerRequest(container_platform=platform, **fields)  # type: ignore[arg-type]


def frozen_request(*, dry_run: bool = False) -> ContainerRequest:
    """A request whose image is frozen, so that the response has its repository."""
    return container_request(container_file=STEPS, freeze=True, build_repository=MINE, dry_run=dry_run)


@pytest.mark.parametrize(
    "request_of",
    [
        container_request(container_file=STEPS),
        container_request("arm64", container_file=STEPS, dry_run=True),
        container_request(BOTH, container_file=STEPS),
        container_request(BOTH, container_file=STEPS, dry_run=True),
        container_request(packages=SAMTOOLS),
        container_request(packages=SAMTOOLS, build_template="conda/pixi:v1"),
        container_request(container_file=encoded(DEFINITION), format="sif", freeze=True, build_repository=MINE),
    ],
    ids=["file", "dry", "both", "both-dry", "packages", "template", "definition"],
)
async def test_steps_for_an_unsupported_platform_are_refused(
    container_requests: ContainerRequests,
    builds: MemoryBuilds,
    queue: MemoryQueue,
    grants: MemoryGrants,
    limits: CountedBuilds,
    request_of: ContainerRequest,
) -> None:
    """The error names what is missing; nothing is queued or counted, also with several platforms."""
    with pytest.raises(PlatformUnsupported) as caught:
        await container_requests.submit(request_of, CALLER)

    assert "linux/arm64" in str(caught.value) and LACKING in str(caught.value)
    assert caught.value.status == 501
    assert (queue.jobs, queue.indexes, grants.stored, limits.taken) == ([], [], {}, 0)
    assert await builds.waiting() == []


@pytest.mark.parametrize(
    "request_of",
    [
        container_request("linux/amd64", container_file=STEPS),
        container_request(container_file=FILES),
        container_request(BOTH, container_file=FILES),
        container_request(packages=SAMTOOLS, build_template="conda/direct:v1"),
        container_request(BOTH, packages=SAMTOOLS, build_template="conda/direct:v1"),
        container_request(container_file=ENTERED, container_config=CONFIG, freeze=True, build_repository=MINE),
    ],
    ids=["native", "files", "files-both", "direct", "direct-both", "frozen"],
)
async def test_a_build_without_steps_works_for_any_platform(
    container_requests: ContainerRequests, queue: MemoryQueue, request_of: ContainerRequest
) -> None:
    """Files are copied and Conda packages are unpacked without running commands."""
    await container_requests.submit(request_of, CALLER)

    assert queue.jobs


async def test_an_existing_image_needs_no_builder(
    container_requests: ContainerRequests, registry: MemoryRegistry, capabilities: KnownCapabilities, queue: MemoryQueue
) -> None:
    """The builder that made it may be stopped."""
    lacking, capabilities.unsupported = capabilities.unsupported, {}
    dry = await container_requests.submit(frozen_request(dry_run=True), CALLER)
    capabilities.unsupported = lacking
    registry.push(dry.container_image or "")

    answer = await container_requests.submit(frozen_request(), CALLER)
    dry_run = await container_requests.submit(frozen_request(dry_run=True), CALLER)

    assert answer.succeeded and dry_run.cached
    assert queue.jobs == []


async def test_a_running_build_is_shared(
    container_requests: ContainerRequests, capabilities: KnownCapabilities, queue: MemoryQueue, builds: MemoryBuilds
) -> None:
    """Its builder may not publish capabilities at the moment; after a failure, a new build is refused."""
    lacking, capabilities.unsupported = capabilities.unsupported, {}
    first = await container_requests.submit(frozen_request(), CALLER)
    capabilities.unsupported = lacking

    assert (await container_requests.submit(frozen_request(), CALLER)).build_id == first.build_id
    assert (await container_requests.submit(frozen_request(dry_run=True), CALLER)).cached is False
    await builds.finish(first.build_id or "", ended(succeeded=False))
    with pytest.raises(PlatformUnsupported):
        await container_requests.submit(frozen_request(), CALLER)
    assert len(queue.jobs) == 1
