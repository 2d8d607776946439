"""The HTTP application of the gateway, assembled from its use cases."""

from typing import NamedTuple

from litestar import Litestar
from litestar.di import Provide
from litestar.types import ASGIApp

from gateway.access.accounts.accounts import Accounts
from gateway.access.accounts.manage_accounts import AccountManager
from gateway.access.keys import KeyIssuer
from gateway.access.leases import TokenLeases
from gateway.access.read_access import ReadAccess
from gateway.access.revoke import Revocations
from gateway.access.vault import Vault
from gateway.access.webhooks import WebhookStore
from gateway.adapters.oidc.sign_in import SignIn
from gateway.audit.events import NO_AUDIT, Audit
from gateway.builds.cancel import Cancellations
from gateway.builds.download import Downloads
from gateway.builds.log_events import LogEvents
from gateway.builds.mirrors import MirrorQueries
from gateway.builds.of_user import BuildsOfUser
from gateway.builds.queries import BuildQueries
from gateway.builds.sboms import SbomQueries
from gateway.handlers.access.accounts import AccountsController
from gateway.handlers.access.actor import actor_of
from gateway.handlers.access.credentials import CredentialsController
from gateway.handlers.access.keys import KeysController
from gateway.handlers.access.preferences import PreferencesController, StoredPreferences
from gateway.handlers.access.sessions import end_sessions, session
from gateway.handlers.access.vault import VaultController
from gateway.handlers.access.webhooks import WebhooksController
from gateway.handlers.builds import BuildsController, builds, own_builds
from gateway.handlers.container_tokens import TokensController
from gateway.handlers.containers import ContainersController
from gateway.handlers.inspect import InspectController
from gateway.handlers.metrics import challenge, metric, metric_of_any_arch
from gateway.handlers.mirrors import MirrorsController
from gateway.handlers.openapi import OpenApiController
from gateway.handlers.operator import operator_router
from gateway.handlers.registry import RegistryHandler
from gateway.handlers.scans import ScansController, affected
from gateway.handlers.service import Backends, health, liveness, robots, service_info
from gateway.handlers.submissions import Submissions, SubmissionsHandler
from gateway.http.caller import Callers
from gateway.http.edge import Edge
from gateway.http.guess_limits import GuessLimits
from gateway.http.large_bodies import BodyRoom, LargeBodies
from gateway.http.middleware.head import HeadAsGet
from gateway.http.read_guard import read_guard
from gateway.http.sessions import Sessions, SessionTokens
from gateway.inspect import Inspector
from gateway.operate.audit import AuditTrail
from gateway.operate.dead_letters import DeadLetters
from gateway.operate.organisations import OrganisationRemoval
from gateway.operate.queues import QueueQueries
from gateway.operate.storage import StorageQueries
from gateway.operate.tokens import TokenRevocations
from gateway.operate.workers import WorkerOperations
from gateway.package_search import PackageSearch
from gateway.pages.builds import BuildPages
from gateway.pages.errors import on_any_error
from gateway.pages.router import pages_router
from gateway.scans.queries import ScanQueries
from gateway.submit.builds.mirror import MirrorStarter
from gateway.usage import Counters
from swell.errors import AccountRequired


class ContainerParts(NamedTuple):
    """Container requests, and what clients may ask about images."""

    submissions: Submissions
    mirrors: MirrorStarter
    revocations: Revocations
    inspector: Inspector
    token_leases: TokenLeases
    package_search: PackageSearch


class BuildParts(NamedTuple):
    """Builds, their logs and their pages, and scans."""

    queries: BuildQueries
    mirror_queries: MirrorQueries
    log_events: LogEvents
    cancellations: Cancellations
    downloads: Downloads
    sbom_queries: SbomQueries
    scan_queries: ScanQueries
    build_pages: BuildPages
    builds_of_user: BuildsOfUser


class ServiceParts(NamedTuple):
    """What operators use: accounts, API keys, usage counts, health, and the revision of the server (*commit*)."""

    accounts: Accounts
    account_manager: AccountManager
    key_issuer: KeyIssuer
    sessions: Sessions
    sign_in: SignIn
    vault: Vault
    webhook_store: WebhookStore
    stored_preferences: StoredPreferences
    counters: Counters
    backends: Backends
    commit: str = ""


class OperatorParts(NamedTuple):
    """Workers, queues, dead letters, tokens, registries, storage and the audit trail."""

    workers: WorkerOperations
    queues: QueueQueries
    dead_letters: DeadLetters
    token_revocations: TokenRevocations
    storage_queries: StorageQueries
    audit_trail: AuditTrail
    organisation_removal: OrganisationRemoval


ROUTES = (
    ContainersController,
    TokensController,
    builds,
    own_builds,
    BuildsController,
    MirrorsController,
    affected,
    ScansController,
    InspectController,
    CredentialsController,
    VaultController,
    WebhooksController,
    PreferencesController,
    KeysController,
    AccountsController,
    session,
    end_sessions,
    metric,
    metric_of_any_arch,
    service_info,
    robots,
    health,
    liveness,
    OpenApiController,
)
"""The handlers of the API; those of operators and of pages are routers that need its parts."""


def create_app(
    registry: RegistryHandler,
    containers: ContainerParts,
    build_parts: BuildParts,
    service: ServiceParts,
    callers: Callers,
    operator: OperatorParts,
    *,
    read_access: ReadAccess,
    audit: Audit = NO_AUDIT,
    pairing: ASGIApp | None = None,
    tls: bool = False,
) -> Edge:
    """The application; *tls* says whether clients connect by https, *pairing* serves the sockets of Platforms."""
    parts = {
        **containers._asdict(),
        **build_parts._asdict(),
        **service._asdict(),
        **operator._asdict(),
        "callers": callers,
        "read_access": read_access,
        "audit": audit,
    }
    app = Litestar(
        route_handlers=[
            *ROUTES,
            operator_router(callers, service.accounts),
            pages_router(callers, service.accounts),
        ],
        dependencies={name: Provide(_provider(part), use_cache=True) for name, part in parts.items()}
        | {"actor": Provide(actor_of)},
        guards=[] if read_access.is_open else [read_guard(read_access, callers, service.accounts)],
        exception_handlers={Exception: on_any_error, AccountRequired: challenge},
        openapi_config=None,
        logging_config=None,
    )
    room = BodyRoom()
    limited = GuessLimits(LargeBodies(HeadAsGet(app), callers, room), callers)
    submit = LargeBodies(SubmissionsHandler(containers.submissions), callers, room)
    framework = SessionTokens(limited, service.sessions)
    return Edge(registry, framework, registry.recent, submit=submit, pairing=pairing, tls=tls)


def _provider(part: object):  # type: ignore[no-untyped-def]
    async def provide() -> object:
        return part

    return provide
