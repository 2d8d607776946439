"""Fixtures of the gateway's tests: a gateway with all dependencies in memory."""

from datetime import timedelta

import pytest

from gateway.access.images.image_access import ImageAccess
from gateway.domain.repositories import Repositories
from gateway.domain.server_config import ServerConfig
from gateway.scans.request import ScanRequests
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.builds.start import BuildStarter
from gateway.submit.prepare import RequestPreparer
from gateway.submit.submit import ContainerRequests
from swell.store.builds.memory import MemoryBuilds
from swell.store.scans.memory import MemoryScans
from tests.unit.gateway.doubles import (
    NOON,
    CountedBuilds,
    CountedScans,
    KnownCapabilities,
    KnownEnds,
    KnownInspections,
    MemoryBlobs,
    MemoryGrants,
    MemoryImages,
    MemoryLeases,
    MemoryQueue,
    MemoryRegistry,
    PublicRegistry,
    RunningScanners,
    ScanQueue,
    StubSolver,
    mirror_starter,
)


@pytest.fixture
def inspections() -> KnownInspections:
    return KnownInspections()


@pytest.fixture
def limits() -> CountedBuilds:
    return CountedBuilds()


@pytest.fixture
def grants() -> MemoryGrants:
    return MemoryGrants()


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def images() -> MemoryImages:
    return MemoryImages()


@pytest.fixture
def builds() -> MemoryBuilds:
    return MemoryBuilds()


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def ends() -> KnownEnds:
    return KnownEnds()


@pytest.fixture
def solver() -> StubSolver:
    return StubSolver()


@pytest.fixture
def server_config(request: pytest.FixtureRequest) -> ServerConfig:
    """The server's configuration; an indirect parameter is a dictionary of members that differ."""
    return ServerConfig(
        server_url="https://wave.example.org",
        repositories=Repositories(build="registry.example.com/team/builds"),
        token_ttl=timedelta(hours=36),
        **getattr(request, "param", {}),
    )


@pytest.fixture
def capabilities() -> KnownCapabilities:
    return KnownCapabilities()


@pytest.fixture
def starter(
    server_config: ServerConfig,
    registry: MemoryRegistry,
    builds: MemoryBuilds,
    limits: CountedBuilds,
    solver: StubSolver,
    capabilities: KnownCapabilities,
    access: ImageAccess,
) -> BuildStarter:
    return BuildStarter(
        server_config.repositories,
        registry,
        builds,
        limits,
        solver,
        MemoryLeases(),
        capabilities,
        access,
        now=lambda: NOON,
    )


@pytest.fixture
def access(server_config: ServerConfig, builds: MemoryBuilds) -> ImageAccess:
    """Every base image can be read."""
    return ImageAccess(server_config.repositories, PublicRegistry(), builds)


@pytest.fixture
def dispatcher(builds: MemoryBuilds, queue: MemoryQueue) -> Dispatcher:
    return Dispatcher(builds, queue, share=8)


@pytest.fixture
def scans() -> MemoryScans:
    return MemoryScans()


@pytest.fixture
def scanners() -> RunningScanners:
    return RunningScanners()


@pytest.fixture
def scan_queue() -> ScanQueue:
    return ScanQueue()


@pytest.fixture
def scan_limits() -> CountedScans:
    return CountedScans()


@pytest.fixture
def scan_requests(
    scans: MemoryScans,
    builds: MemoryBuilds,
    registry: MemoryRegistry,
    scanners: RunningScanners,
    scan_queue: ScanQueue,
    scan_limits: CountedScans,
) -> ScanRequests:
    return ScanRequests(scans, builds, registry, scanners, scan_queue, scan_limits, now=lambda: NOON)


@pytest.fixture
def container_requests(
    server_config: ServerConfig,
    grants: MemoryGrants,
    registry: MemoryRegistry,
    builds: MemoryBuilds,
    blobs: MemoryBlobs,
    inspections: KnownInspections,
    access: ImageAccess,
    starter: BuildStarter,
    dispatcher: Dispatcher,
    scan_requests: ScanRequests,
) -> ContainerRequests:
    preparer = RequestPreparer(inspections)
    mirrors = mirror_starter(server_config, registry, builds, starter, access, dispatcher)
    return ContainerRequests(
        server_config,
        grants,
        registry,
        builds,
        blobs,
        access,
        mirrors,
        preparer,
        starter,
        dispatcher,
        scan_requests,
        now=lambda: NOON,
    )
