"""The backends of the gateway, in memory."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from gateway.access.image_access import ImageAccess
from gateway.builds.event_encoding import Lines, Position
from gateway.builds.queries import Resolved
from gateway.domain.grant import Grant
from gateway.domain.identity import ANONYMOUS, Caller
from gateway.domain.repositories import Repositories
from gateway.pull.pulls import Location
from gateway.submit.dispatch import Dispatcher
from gateway.submit.prepare import RequestPreparer
from gateway.submit.recipes.direct import DirectPackages
from gateway.submit.start import BuildStarter
from gateway.submit.submit import ContainerRequests, ServerConfig
from swell.api.containers import ContainerLayer, ContainerRecord
from swell.api.inspect import Inspection
from swell.errors import BadRequest, ManifestUnknown, SwellError, TooManyRequests
from swell.jobs.messages import BuildJob, IndexJob
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX, OCI_MANIFEST
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.principal import OPERATOR, PUBLIC, Principal
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult

SOMEBODY = Caller(ANONYMOUS, "203.0.113.9", OPERATOR, OPERATOR)
"""Anonymous, and yet with all credentials: what these are for is tested in `test_access`."""
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class MemoryGrants:
    def __init__(self) -> None:
        self.kept: dict[str, Grant] = {}
        self.records: dict[str, ContainerRecord] = {}

    async def put(self, grant: Grant, record: ContainerRecord | None = None) -> None:
        self.kept[grant.token] = grant
        if record:
            self.records[grant.token] = record

    async def record(self, token: str) -> ContainerRecord | None:
        return self.records.get(token)

    async def revoke(self, token: str) -> bool:
        return self.kept.pop(token, None) is not None

    def is_cached(self, token: str) -> bool:
        return False

    async def get(self, token: str) -> Grant | None:
        return self.kept.get(token)


class MemoryRegistry:
    """Knows the digests of the images that it has, unless it is in *trouble*. All are for *platforms*."""

    def __init__(self) -> None:
        self.images: dict[str, Digest] = {}
        self.platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64")
        self.trouble: SwellError | None = None
        self.layers: list[ContainerLayer] = []

    def push(self, image: str) -> None:
        self.images[image] = digest_of(image.encode())

    async def resolve(
        self, image: Reference, principal: Principal = PUBLIC, platforms: Sequence[Platform] = ()
    ) -> Digest:
        if self.trouble:
            raise self.trouble
        if str(image) not in self.images:
            raise ManifestUnknown(f"{image} is not there")
        if missing := set(map(str, platforms)) - set(self.platforms):
            raise BadRequest(f"{image} is not made for {missing}, but for {self.platforms}")
        return self.images[str(image)]

    async def keep(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        self.layers.append(layer)


class PublicRegistry:
    """Shows whatever image is named to anybody."""

    async def resolve(self, image: Reference, principal: Principal) -> Digest:
        return digest_of(str(image).encode())


class MemoryImages:
    """Serves one manifest for whatever is granted, and remembers who asked."""

    def __init__(self) -> None:
        self.document = Document(OCI_MANIFEST, b'{"schemaVersion":2}')
        self.asked: list[tuple[Grant, str]] = []
        self.referring = b""
        self.fails: Exception | None = None

    async def manifest(self, grant: Grant, reference: str) -> Document:
        if self.fails:
            raise self.fails
        self.asked.append((grant, reference))
        return self.document

    async def resolved(self, token: str) -> Resolved:
        return Resolved()

    async def locate(self, grant: Grant, digest: Digest) -> Location:
        self.asked.append((grant, digest))
        return Location(f"http://data.test/blobs/{digest}", 3, "application/octet-stream", 2_000_000_000)

    async def referrers(self, grant: Grant, digest: Digest) -> bytes:
        self.asked.append((grant, digest))
        return b'{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' % (OCI_INDEX.encode(), self.referring)


class MemoryQueue:
    def __init__(self) -> None:
        self.jobs: list[BuildJob] = []
        self.indexes: list[IndexJob] = []

    async def has(self, build_id: str) -> bool:
        return any(job.id == build_id for job in (*self.jobs, *self.indexes))

    async def put(self, job: BuildJob | IndexJob) -> None:
        if isinstance(job, IndexJob):
            self.indexes.append(job)
        else:
            self.jobs.append(job)


class MemoryBlobs:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def put_all(self, blobs: Mapping[str, bytes]) -> None:
        self.kept |= blobs


class UnlimitedPulls:
    """Limits that nobody reaches; *counted* is who pulled how often."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, str]] = []

    async def take_pull(self, user: str, address: str) -> None:
        self.counted.append((user, address))


class StubSolver:
    """Has one answer for every wish, unless it is *impossible*; *asked* is what for."""

    LOCK = f"@EXPLICIT\nhttps://conda.example.org/forge/noarch/tool-1-0.conda#sha256:{'0' * 64}\n"

    def __init__(self) -> None:
        self.asked: list[tuple[DirectPackages, Platform]] = []
        self.impossible = ""

    async def solve(self, wanted: DirectPackages, platform: Platform) -> str:
        self.asked.append((wanted, platform))
        if self.impossible:
            raise BadRequest(self.impossible)
        return self.LOCK


class KnownCapabilities:
    """What the builders lack to run steps, *unsupported*, by architecture; `asked` are the requested platforms."""

    def __init__(self) -> None:
        self.unsupported: dict[str, str] = {}
        self.asked: list[str] = []

    async def missing(self, platform: Platform) -> tuple[str, ...]:
        self.asked.append(str(platform))
        found = self.unsupported.get(platform.architecture)
        return (found,) if found else ()


class KnownInspections:
    """Images that were looked at beforehand, by their names."""

    def __init__(self) -> None:
        self.found: dict[str, Inspection] = {}

    async def inspect(self, image: Reference, platform: Platform | None, principal: Principal = PUBLIC) -> Inspection:
        if str(image) not in self.found:
            raise ManifestUnknown(f"{image} is not there")
        return self.found[str(image)]


class CountedBuilds:
    """Counts builds, and refuses those beyond *most*."""

    def __init__(self) -> None:
        self.taken = 0
        self.most = 1000

    async def take_build(self, user: str, address: str) -> None:
        if self.taken >= self.most:
            raise TooManyRequests(f"the build limit for {user or address} is used up", retry_after=60)
        self.taken += 1

    async def return_build(self, user: str, address: str) -> None:
        self.taken -= 1


class MemoryLeases:
    """Leases that nobody loses."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def take(self, key: str, patience: timedelta) -> AbstractAsyncContextManager[None] | None:
        return self._locks[key]


class MemoryFeeds:
    """What running builds tell, by their ids; *result* is how they end then."""

    def __init__(self) -> None:
        self.told: dict[str, list[Lines | None]] = {}
        self.result: BuildResult | None = None
        self.is_whole = True

    @asynccontextmanager
    async def open(self, build_id: str, after: Position) -> AsyncIterator["ToldFeed"]:
        yield ToldFeed(self.told.get(build_id, []), self.result, self.is_whole)


class ToldFeed:
    def __init__(self, told: list[Lines | None], result: BuildResult | None, is_whole: bool) -> None:
        self._told = told
        self.result = result
        self.is_whole = is_whole

    async def __aiter__(self) -> AsyncIterator[Lines | None]:
        for lines in self._told:
            yield lines


class KnownEnds:
    """Builds whose end is known beforehand."""

    def __init__(self) -> None:
        self.results: dict[str, BuildResult] = {}

    async def result(self, build_id: str) -> BuildResult:
        return self.results[build_id]


def ended(*, succeeded: bool, message: str = "") -> BuildResult:
    return BuildResult(
        succeeded=succeeded,
        exit_status=0 if succeeded else 1,
        started=NOON,
        finished=NOON + timedelta(seconds=41.25),
        message=message,
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
def server_config() -> ServerConfig:
    return ServerConfig(
        server_url="https://wave.example.org",
        repositories=Repositories(build="registry.example.com/team/builds"),
        token_ttl=timedelta(hours=36),
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
) -> ContainerRequests:
    preparer = RequestPreparer(inspections)
    return ContainerRequests(
        server_config, grants, registry, builds, blobs, access, preparer, starter, dispatcher, now=lambda: NOON
    )
