"""The backends of the gateway in memory, and a client of its HTTP API."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
from msgspec import Struct

from gateway.access.accounts.accounts import Accounts
from gateway.access.accounts.manage_accounts import AccountManager
from gateway.access.authenticator import Authenticator, Identities
from gateway.access.guess_limiter import GuessLimiter
from gateway.access.images.image_access import ImageAccess
from gateway.access.keys import KeyIssuer
from gateway.access.leases import TokenLeases
from gateway.access.limits import Limits
from gateway.access.read_access import ReadAccess
from gateway.access.revoke import Revocations
from gateway.access.vault import Vault
from gateway.access.webhooks import WebhookStore
from gateway.adapters.oidc.sign_in import SignIn
from gateway.app import BuildParts, ContainerParts, OperatorParts, ServiceParts, create_app
from gateway.builds.cancel import Cancellations
from gateway.builds.download import Downloads
from gateway.builds.first_status import FirstStatus
from gateway.builds.log_events import LogEvents
from gateway.builds.mirrors import MirrorQueries
from gateway.builds.of_user import BuildsOfUser
from gateway.builds.queries import BuildQueries
from gateway.builds.sboms import SbomQueries
from gateway.domain.access.identity import ANONYMOUS, Identity
from gateway.domain.access.lease_terms import LeaseTerms
from gateway.domain.access.record_access import RecordAccess
from gateway.domain.grant import Grant
from gateway.domain.quota import Quotas
from gateway.domain.repositories import Repositories
from gateway.domain.server_config import ServerConfig
from gateway.handlers.registry import RegistryHandler
from gateway.handlers.submissions import LiveTokens, Submissions
from gateway.http.caller import Callers, ClientAddress
from gateway.http.sessions import Sessions
from gateway.inspect import Inspector
from gateway.operate.audit import AuditTrail
from gateway.operate.dead_letters import DeadLetters
from gateway.operate.organisations import OrganisationRemoval
from gateway.operate.queues import QueueQueries
from gateway.operate.storage import StorageQueries
from gateway.operate.tokens import TokenRevocations
from gateway.operate.workers import WorkerOperations
from gateway.package_search import Found, FoundPackage, PackageSearch
from gateway.pages.builds import BuildPages
from gateway.pages.differences import Differences
from gateway.pull.pulls import Pulls
from gateway.scans.queries import ScanQueries
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.builds.start import BuildStarter
from gateway.submit.builds.users_builds import GrantsWithUsersBuilds
from gateway.submit.prepare import RequestPreparer
from gateway.submit.requesters import GrantsWithRequesters
from gateway.submit.submit import ContainerRequests
from gateway.usage import Usage, UsageQuery
from swell.errors import Unauthorized
from swell.jobs.messages import BuildDone
from swell.observe.health import Report
from swell.oci.document import Document
from swell.store.attestations import Attestation
from swell.store.builds.memory import MemoryBuilds
from swell.store.logs import LoggedStep
from swell.store.records import Build
from swell.store.scans.memory import MemoryScans
from tests.unit.gateway.access.buckets import MemoryBuckets
from tests.unit.gateway.doubles import (
    CountedBuilds,
    KnownCapabilities,
    KnownEnds,
    KnownInspections,
    MemoryAccounts,
    MemoryBlobs,
    MemoryFeeds,
    MemoryGrants,
    MemoryImages,
    MemoryKeys,
    MemoryLeases,
    MemoryPreferences,
    MemoryQueue,
    MemoryRegistry,
    MemoryRequesters,
    MemorySessions,
    MemoryTokenLeases,
    MemoryUsersBuilds,
    PublicRegistry,
    RunningScanners,
    StubSolver,
    UnlimitedPulls,
    mirror_starter,
    scan_requests,
    scan_status,
)

SUBMIT = "/v1alpha2/container"
HOSTILE = "</li><script>alert(1)</script>"


class Backends:
    """Answer unless they are away, or all but the message queue while `partly`."""

    away = False
    known_engines: list[str] = []  # noqa: RUF012  (set on an instance)

    partly = False

    async def report(self) -> Report:
        works = ("cached pulls", "pulls")
        fails = {"builds": "the message queue does not answer"}
        if self.away:
            return Report(reason="the state store does not answer")
        return Report(works=works, fails=fails) if self.partly else Report(works=(*works, "builds"))

    @property
    def engines(self) -> list[str]:
        return self.known_engines


class Builds(MemoryBuilds):
    """Fail with `fails`, if it is set."""

    fails: Exception | None = None

    async def get(self, build_id: str) -> Build | None:
        if self.fails:
            raise self.fails
        return await super().get(build_id)


class Logs:
    """A log whose lines appear one by one, each after `more` is released."""

    def __init__(self) -> None:
        self.more = asyncio.Semaphore(0)

    async def complete(self, build_id: str) -> AsyncIterator[bytes] | None:
        return None

    async def steps(self, build_id: str, attempt: int) -> tuple[LoggedStep, ...]:
        return ()

    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
        return None

    async def attestation(self, build_id: str, kind: Attestation) -> bytes | None:
        return b'{"kind": "%s"}' % kind.encode() if kind is not Attestation.SBOM else None

    async def attestations(self, build_id: str) -> frozenset[Attestation]:
        return frozenset({Attestation.SIGNATURE, Attestation.PROVENANCE})

    async def so_far(self, build_id: str) -> AsyncIterator[bytes]:
        for line in ("STEP 1: größe\n", "STEP 2\n"):
            async with asyncio.timeout(30):
                await self.more.acquire()
            yield line.encode()


class NoIdentities:
    """No key is known here."""

    async def identify(self, token: str | None, endpoint: str | None) -> Identity:
        if token:
            raise Unauthorized
        return ANONYMOUS


class Harness:
    """The backends of the gateway."""

    def __init__(self) -> None:
        self.guess_limiter = GuessLimiter()
        self.serves_anonymous = True
        self.identities: Identities = NoIdentities()
        self.accounts = Accounts({})
        self.stored_accounts = MemoryAccounts()
        self.sessions = MemorySessions()
        self.keys = MemoryKeys()
        self.record_access = RecordAccess.ID
        self.requesters = MemoryRequesters()
        self.users_builds = MemoryUsersBuilds()
        self.accepted: set[str] = set()
        self.live: LiveTokens = Limits(MemoryBuckets(time.monotonic), Quotas(), fail_open=False)
        self.grants = MemoryGrants()
        self.builds = Builds()
        self.registry = MemoryRegistry()
        self.images = MemoryImages()
        self.logs = Logs()
        self.scans = MemoryScans()
        self.reports: dict[str, bytes] = {}
        self.feeds = MemoryFeeds()
        self.backends = Backends()
        self.pulls = 0

    def app(self, server_url: str) -> Any:
        server_config = ServerConfig(
            server_url=server_url,
            repositories=Repositories(build="registry.example.com/team/builds"),
            token_ttl=timedelta(hours=1),
        )
        access = ImageAccess(server_config.repositories, PublicRegistry(), self.builds)
        limits, capabilities = CountedBuilds(), KnownCapabilities()
        starter = BuildStarter(
            server_config.repositories,
            self.registry,
            self.builds,
            limits,
            StubSolver(),
            MemoryLeases(),
            capabilities,
            access,
        )
        dispatcher = Dispatcher(self.builds, MemoryQueue(), share=8)
        mirrors = mirror_starter(server_config, self.registry, self.builds, starter, access, dispatcher)
        read_access = ReadAccess(self.record_access, self.requesters, self.builds)
        grants = GrantsWithUsersBuilds(self.grants, self.users_builds)
        container_requests = ContainerRequests(
            server_config,
            grants if read_access.is_open else GrantsWithRequesters(grants, read_access),
            self.registry,
            self.builds,
            MemoryBlobs(),
            access,
            mirrors,
            RequestPreparer(KnownInspections()),
            starter,
            dispatcher,
            scan_requests(self.registry, self.builds),
        )
        pulls = Pulls(self.grants, KnownEnds(), self.images, UnlimitedPulls(), server_url, self.guess_limiter)
        sessions = Sessions(self.sessions, timedelta(hours=1), self.accounts, tls=False)
        authenticator = Authenticator(self.identities, anonymous_access=self.serves_anonymous)
        callers = Callers(authenticator, ClientAddress(), self.guess_limiter, sessions=sessions)
        queries = BuildQueries(
            self.grants,
            self.images,
            self.builds,
            self.logs,
            server_url,
            FirstStatus(self.grants, KnownEnds()),
            scan_status(),
        )
        key_issuer = KeyIssuer(self.keys, self)
        return create_app(
            RegistryHandler(pulls, self._pulled, ClientAddress()),
            ContainerParts(
                Submissions(container_requests, callers, self.live),
                mirrors,
                Revocations(self.grants, self),
                Inspector(KnownInspections(), self, access),
                TokenLeases(MemoryTokenLeases(self.grants), LeaseTerms()),
                PackageSearch(self),
            ),
            BuildParts(
                queries,
                MirrorQueries(self.builds, queries),
                LogEvents(self.builds, self.feeds, self.logs),
                Cancellations(self.builds, self),
                Downloads(self.builds, self.images, access),
                SbomQueries(self.builds, self.logs, self, RunningScanners()),
                ScanQueries(self.scans, self),
                BuildPages(queries, self.builds, self.logs, Differences(self.builds, self.logs)),
                BuildsOfUser(self.users_builds, self.builds),
            ),
            ServiceParts(
                self.accounts,
                AccountManager(self.stored_accounts, self.accounts, key_issuer, sessions, self.guess_limiter),
                key_issuer,
                sessions,
                SignIn(None, MemorySessions(), server_url),
                Vault(None, self),
                WebhookStore(None, lambda _: False),
                MemoryPreferences(),
                self,
                self.backends,
            ),
            callers,
            self.operator_parts(),
            read_access=read_access,
        )

    def operator_parts(self) -> OperatorParts:
        """The operator's API without backends: only its routes are tested with this harness."""
        revocations = Revocations(self.grants, self)
        none: Any = None
        return OperatorParts(
            WorkerOperations(none),
            QueueQueries(none, none),
            DeadLetters(none),
            TokenRevocations(none, revocations),
            StorageQueries(none, none, none),
            AuditTrail(None),
            OrganisationRemoval(none, revocations, Vault(None, self)),
        )

    async def search(self, text: str, platform: str) -> Found:
        """One package, unless *text* is empty."""
        if not text:
            return Found(channels=("conda-forge",))
        return Found((FoundPackage(f"{text}-tools", "conda-forge", ("2.0", "1.0"), HOSTILE),), ("conda-forge",))

    async def accepts(self, registry: str, user_name: str, password: str) -> bool:
        return password in self.accepted

    async def usage(self, query: UsageQuery) -> Usage:
        return Usage(0, {})

    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        """The stored report in one piece."""
        return _one(self.reports[key]) if key in self.reports else None

    async def cancelled(self, build_id: str) -> None:
        """There is no builder here."""

    async def ended(self, event: BuildDone) -> None:
        """No client waits for builds in these tests."""

    async def revoked(self, token: str) -> None:
        """The grants are in one store here, so no event is needed."""

    async def vault_changed(self, owner: str) -> None:
        """One gateway, without a cache."""

    async def key_changed(self, key_id: str, *, revoked: bool) -> None:
        """One gateway, without a cache."""

    def _pulled(self, grant: Grant, document: Document) -> None:
        self.pulls += 1


class Answer(Struct):
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Client:
    """Asks the gateway at *url*."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """*body* is sent as JSON unless it is bytes."""
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode()) if body is not None else None
        headers = {"Content-Type": "application/json"} | headers
        url = self.url + path
        async with self.session.request(method, url, data=data, headers=headers, allow_redirects=False) as answer:
            return Answer(
                answer.status, {name.lower(): text for name, text in answer.headers.items()}, await answer.read()
            )

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", path)

    async def submit(self, body: Any) -> Answer:
        return await self.ask("POST", SUBMIT, body)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
