"""Test doubles for the dependencies of the gateway, in memory."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

from gateway.access.images.image_access import ImageAccess
from gateway.access.leases import Held, LeasedToken
from gateway.builds.event_encoding import Lines, Position
from gateway.builds.queries import Resolved
from gateway.domain.access.account import Account
from gateway.domain.access.api_key import IssuedKey
from gateway.domain.access.identity import ANONYMOUS, Caller
from gateway.domain.access.session import Session
from gateway.domain.grant import Grant
from gateway.domain.location import Location
from gateway.domain.notices import Preference
from gateway.domain.server_config import ServerConfig
from gateway.scans.request import ScanRequests
from gateway.scans.status import ScanStatus
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.builds.mirror import MirrorStarter
from gateway.submit.builds.start import BuildStarter
from swell.api.containers import ContainerLayer, ContainerRecord
from swell.api.inspect import Inspection
from swell.api.mirrors import MirrorPlan, PlannedImage
from swell.errors import BadRequest, ManifestUnknown, SwellError, TooManyRequests, Unavailable
from swell.jobs.messages import BuildJob, IndexJob, MirrorJob, ScanJob
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX, OCI_MANIFEST
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.recipes.direct import DirectPackages
from swell.registry.credentials.principal import OPERATOR, PUBLIC, Principal
from swell.store.builds import Builds
from swell.store.records import BuildResult, MirrorImage
from swell.store.scans import Scans
from swell.store.scans.memory import MemoryScans

CALLER = Caller(ANONYMOUS, "203.0.113.9", OPERATOR, OPERATOR)
"""An anonymous caller with the credentials of the operator; `test_image_access` tests callers without them."""
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class MemoryGrants:
    is_away = False

    def __init__(self) -> None:
        self.stored: dict[str, Grant] = {}
        self.records: dict[str, ContainerRecord] = {}

    async def put(self, grant: Grant, record: ContainerRecord | None = None) -> None:
        if self.is_away:
            raise Unavailable
        self.stored[grant.token] = grant
        if record:
            self.records[grant.token] = record

    async def record(self, token: str) -> ContainerRecord | None:
        return self.records.get(token)

    async def revoke(self, token: str) -> bool:
        return self.stored.pop(token, None) is not None

    def is_cached(self, token: str) -> bool:
        return False

    async def get(self, token: str) -> Grant | None:
        return self.stored.get(token)


class MemoryTokenLeases:
    """Leases of the tokens in *grants*, each until the end that was last held."""

    def __init__(self, grants: MemoryGrants) -> None:
        self._grants = grants
        self.held: dict[tuple[str, str], datetime] = {}

    async def leased(self, token: str, limit: timedelta) -> LeasedToken | None:
        grant = self._grants.stored.get(token)
        return LeasedToken(token, grant.expires, max(grant.expires, grant.created + limit)) if grant else None

    async def hold(self, token: LeasedToken, name: str, until: datetime, *, is_new: bool) -> Held:
        if not is_new and (token.token, name) not in self.held:
            return Held(None)
        self.held[token.token, name] = until
        return Held(self._end(token))

    async def release(self, token: LeasedToken, name: str) -> Held:
        return Held(self._end(token) if self.held.pop((token.token, name), None) else None)

    def _end(self, token: LeasedToken) -> datetime:
        return max([token.base, *(until for (held, _), until in self.held.items() if held == token.token)])

    async def claim(self, count: int, seconds: float) -> Sequence[str]:
        return []

    async def due_in(self, token: str, seconds: float) -> None: ...

    async def forget(self, token: str) -> None: ...

    async def run_of(self, token: str) -> str | None:
        return None


class MemorySessions:
    """Sessions of browsers, by their secrets."""

    def __init__(self) -> None:
        self.stored: dict[str, Session] = {}
        self.used: set[str] = set()

    async def add(self, secret: str, session: Session) -> None:
        self.stored[secret] = session

    async def get(self, secret: str) -> Session | None:
        return self.stored.get(secret)

    async def end(self, secret: str, user: str) -> None:
        self.stored.pop(secret, None)

    async def end_all(self, user: str) -> int:
        ended = [secret for secret, session in self.stored.items() if session.identity.user == user]
        return len([self.stored.pop(secret) for secret in ended])

    async def take(self, state: str, seconds: int) -> bool:
        is_new = state not in self.used
        self.used.add(state)
        return is_new


class MemoryKeys:
    """Issued keys, in the order in which they were added."""

    def __init__(self) -> None:
        self.stored: dict[str, IssuedKey] = {}
        self.ending: set[str] = set()

    async def begin_ending(self, user: str) -> None:
        self.ending.add(user)

    async def add(self, key: IssuedKey, limit: int) -> bool:
        if key.user in self.ending:
            raise Unavailable
        if sum(each.user == key.user for each in self.stored.values()) >= limit:
            return False
        self.stored[key.id] = key
        return True

    async def get(self, key_id: str) -> IssuedKey | None:
        return self.stored.get(key_id)

    async def replace(self, key: IssuedKey) -> bool:
        if key.id not in self.stored:
            return False
        self.stored[key.id] = key
        return True

    async def remove(self, key: IssuedKey) -> bool:
        return self.stored.pop(key.id, None) is not None

    async def page(self, user: str | None, before: str | None, limit: int) -> tuple[Sequence[IssuedKey], str | None]:
        found = [key for key in reversed(self.stored.values()) if user in {None, key.user}]
        return found[:limit], None


class MemoryPreferences:
    """When users want e-mail."""

    def __init__(self) -> None:
        self.stored: dict[str, Preference] = {}

    async def of(self, users: Iterable[str]) -> dict[str, Preference]:
        return {user: self.stored[user] for user in users if user in self.stored}

    async def put(self, user: str, preference: Preference | None) -> None:
        self.stored.pop(user, None)
        if preference:
            self.stored[user] = preference


class MemoryAccounts:
    """Accounts by name."""

    def __init__(self) -> None:
        self.stored: dict[str, Account] = {}

    async def add(self, account: Account, limit: int) -> bool | None:
        if len(self.stored) >= limit:
            return None
        return self.stored.setdefault(account.name, account) is account

    async def get(self, name: str) -> Account | None:
        return self.stored.get(name)

    async def exist(self) -> bool:
        return bool(self.stored)

    async def replace(self, former: Account, account: Account) -> bool:
        if self.stored.get(account.name) != former:
            return False
        self.stored[account.name] = account
        return True

    async def remove(self, name: str) -> bool:
        return self.stored.pop(name, None) is not None

    async def page(self, after: str | None, limit: int) -> tuple[Sequence[Account], str | None]:
        names = [name for name in sorted(self.stored) if name > (after or "")][:limit]
        return [self.stored[name] for name in names], names[-1] if len(names) == limit else None


class MemoryRequesters:
    """Who has requested which records."""

    def __init__(self) -> None:
        self.stored: dict[str, frozenset[str]] = {}

    async def add(self, record_ids: Iterable[str], names: Iterable[str]) -> None:
        for record_id in record_ids:
            self.stored[record_id] = self.stored.get(record_id, frozenset()).union(names)

    async def get(self, record_id: str) -> frozenset[str]:
        return self.stored.get(record_id, frozenset())


class MemoryUsersBuilds:
    """The builds of users; the cursor is the number of builds before it."""

    def __init__(self) -> None:
        self.stored: dict[str, list[str]] = {}

    async def add(self, user: str, build_id: str) -> None:
        self.stored.setdefault(user, []).append(build_id)

    async def page(self, user: str, before: int | None, limit: int) -> tuple[Sequence[str], int | None]:
        found = list(enumerate(self.stored.get(user, ())))[:before][::-1][:limit]
        return [build_id for _, build_id in found], found[-1][0] if len(found) == limit else None


class MemoryRegistry:
    """A registry of *images* by name, all for *platforms*; it raises *trouble* if that is set."""

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

    async def resolve_now(self, image: Reference, principal: Principal = PUBLIC) -> Digest:
        return await self.resolve(image, principal)

    async def resolve_complete(self, image: Reference, principal: Principal = PUBLIC) -> Digest:
        """As `resolve`: the registry is never asked for a part of an image."""
        return await self.resolve(image, principal)

    async def keep(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        self.layers.append(layer)


class PublicRegistry:
    """A registry in which every image exists and is public."""

    async def resolve(self, image: Reference, principal: Principal) -> Digest:
        return digest_of(str(image).encode())

    async def resolve_blob(self, blob: Reference, principal: Principal) -> Digest:
        return digest_of(str(blob).encode())


class MemoryImages:
    """Serves one manifest for every grant, and records the requests in `asked`."""

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
        self.is_lost = self.is_away = False
        self.mirrors: list[MirrorJob] = []

    async def has(self, build_id: str) -> bool:
        return any(job.id == build_id for job in (*self.jobs, *self.indexes, *self.mirrors))

    async def was_lost(self) -> bool:
        was_lost, self.is_lost = self.is_lost, False
        return was_lost

    async def put(self, job: BuildJob | IndexJob | MirrorJob) -> None:
        if self.is_away:
            raise Unavailable
        if isinstance(job, IndexJob):
            self.indexes.append(job)
        elif isinstance(job, MirrorJob):
            self.mirrors.append(job)
        else:
            self.jobs.append(job)


class KnownPlans:
    """Plans in which every image has a size of 10 bytes, all of which are missing."""

    async def plan(self, images: Sequence[MirrorImage], principal: Principal, push_principal: Principal) -> MirrorPlan:
        planned = (
            PlannedImage(digest=image.digest, size=10, missing=10, missing_blobs=1, cached=False) for image in images
        )
        return MirrorPlan(images=tuple(planned))


def mirror_starter(
    server_config: ServerConfig,
    registry: MemoryRegistry,
    builds: Builds,
    starter: BuildStarter,
    access: ImageAccess,
    dispatcher: Dispatcher,
) -> MirrorStarter:
    return MirrorStarter(
        server_config.repositories, registry, builds, starter, access, KnownPlans(), dispatcher, now=lambda: NOON
    )


class MemoryBlobs:
    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    async def put_all(self, blobs: Mapping[str, bytes]) -> None:
        self.stored |= blobs


class UnlimitedPulls:
    """No limit on pulls; `counted` has the user and address of each pull."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, str]] = []

    async def take_pull(self, user: str, address: str) -> None:
        self.counted.append((user, address))


class StubSolver:
    """Returns one lock file for all packages, or raises *trouble*, or *impossible*; `asked` has the requests."""

    LOCK = f"@EXPLICIT\nhttps://conda.example.org/forge/noarch/tool-1-0.conda#sha256:{'0' * 64}\n"

    def __init__(self) -> None:
        self.asked: list[tuple[DirectPackages, Platform]] = []
        self.impossible = ""
        self.trouble: SwellError | None = None

    async def solve(self, wanted: DirectPackages, platform: Platform) -> str:
        self.asked.append((wanted, platform))
        if self.trouble:
            raise self.trouble
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
        missing = self.unsupported.get(platform.architecture)
        return (missing,) if missing else ()


class KnownInspections:
    """Returns prepared inspections by the names of the images, or raises *trouble*."""

    def __init__(self) -> None:
        self.results: dict[str, Inspection] = {}
        self.trouble: SwellError | None = None

    async def inspect(
        self, image: Reference, platform: Platform | None, principal: Principal = PUBLIC, *, referrers: bool = False
    ) -> Inspection:
        if self.trouble:
            raise self.trouble
        if str(image) not in self.results:
            raise ManifestUnknown(f"{image} is not there")
        return self.results[str(image)]


class CountedBuilds:
    """Counts builds, and refuses more than *most*."""

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
    """Leases in memory, without expiry."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def take(self, key: str, time_limit: timedelta) -> AbstractAsyncContextManager[None] | None:
        return self._locks[key]


class MemoryFeeds:
    """Log lines of running builds by their ids; *result* is the end of all builds."""

    def __init__(self) -> None:
        self.lines_of: dict[str, list[Lines | None]] = {}
        self.result: BuildResult | None = None
        self.is_whole = True

    @asynccontextmanager
    async def open(self, build_id: str, after: Position) -> AsyncIterator["MemoryFeed"]:
        yield MemoryFeed(self.lines_of.get(build_id, []), self.result, self.is_whole)


class MemoryFeed:
    def __init__(self, lines: list[Lines | None], result: BuildResult | None, is_whole: bool) -> None:
        self._lines = lines
        self.result = result
        self.is_whole = is_whole

    async def __aiter__(self) -> AsyncIterator[Lines | None]:
        for lines in self._lines:
            yield lines


class KnownEnds:
    """Builds with prepared results."""

    def __init__(self) -> None:
        self.results: dict[str, BuildResult] = {}

    def is_known(self, build_id: str) -> bool:
        return False

    async def result(self, build_id: str) -> BuildResult:
        return self.results[build_id]

    async def wait_at_most(self, build_id: str, seconds: float) -> None:
        """Return at once."""


def ended(*, succeeded: bool, message: str = "") -> BuildResult:
    return BuildResult(
        succeeded=succeeded,
        exit_status=0 if succeeded else 1,
        started=NOON,
        finished=NOON + timedelta(seconds=41.25),
        message=message,
    )


class RunningScanners:
    """One scanner, unless `running` is false."""

    def __init__(self) -> None:
        self.running = True

    async def are_running(self) -> bool:
        return self.running


class ScanQueue:
    """The jobs of scans, in their order."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    async def put(self, job: ScanJob) -> None:
        self.jobs.append(job.id)


class CountedScans:
    """Counts permits; `left` is None for no limit."""

    def __init__(self, left: int | None = None) -> None:
        self.left = left

    async def take_scan(self, user: str, address: str) -> None:
        if self.left == 0:
            raise TooManyRequests("the scan limit is used up, try again in 60 s", retry_after=60)
        if self.left is not None:
            self.left -= 1

    async def return_scan(self, user: str, address: str) -> None:
        if self.left is not None:
            self.left += 1


def scan_requests(registry: MemoryRegistry, builds: Builds) -> ScanRequests:
    """Scans of a server with one scanner."""
    return ScanRequests(MemoryScans(), builds, registry, RunningScanners(), ScanQueue(), CountedScans())


def scan_status(scans: Scans | None = None) -> ScanStatus:
    """The scans of *scans*, in the status of requests."""
    return ScanStatus(scans or MemoryScans(), "https://wave.example.org")
