"""The gateway's HTTP application, put together from ready parts."""

from litestar import Litestar, asgi
from litestar.di import Provide
from litestar.types import ASGIApp

from gateway.access.accounts import Accounts
from gateway.access.revoke import Revocations
from gateway.builds.cancel import Cancellations
from gateway.builds.download import Downloads
from gateway.builds.log_events import LogEvents
from gateway.builds.queries import BuildQueries
from gateway.handlers.builds import BuildsController, builds
from gateway.handlers.containers import ContainersController, LiveTokens, Submissions, TokensController
from gateway.handlers.credentials import CredentialsController
from gateway.handlers.inspect import InspectController
from gateway.handlers.metrics import challenge, metric, metric_of_any_arch
from gateway.handlers.openapi import OpenApiController
from gateway.handlers.registry import RegistryHandler
from gateway.handlers.service import Backends, health, liveness, robots, service_info
from gateway.http.caller import Callers
from gateway.http.errors import on_error
from gateway.http.guess_limits import GuessLimits
from gateway.http.head import HeadAsGet
from gateway.http.request_checks import RequestChecks
from gateway.http.security_headers import SecurityHeaders
from gateway.http.tracing import RequestTracing
from gateway.inspect import Inspector
from gateway.submit.submit import ContainerRequests
from gateway.usage import Counters
from swell.errors import AccountRequired


def create_app(
    container_requests: ContainerRequests,
    following: BuildQueries,
    watching: LogEvents,
    cancelling: Cancellations,
    downloads: Downloads,
    revoking: Revocations,
    inspecting: Inspector,
    accounts: Accounts,
    counters: Counters,
    registry: RegistryHandler,
    callers: Callers,
    backends: Backends,
    live: LiveTokens,
    *,
    tls: bool = False,
    commit: str = "",
) -> ASGIApp:
    """*tls* says whether clients reach us by https; *commit* is the revision that we tell."""
    ready = {
        "submissions": Submissions(container_requests, callers, live),
        "following": following,
        "watching": watching,
        "cancelling": cancelling,
        "downloads": downloads,
        "revoking": revoking,
        "inspecting": inspecting,
        "accounts": accounts,
        "counters": counters,
        "callers": callers,
        "backends": backends,
        "commit": commit,
    }
    app = Litestar(
        route_handlers=[
            asgi("/v2", is_mount=True, copy_scope=False)(registry.__call__),
            ContainersController,
            TokensController,
            builds,
            BuildsController,
            InspectController,
            CredentialsController,
            metric,
            metric_of_any_arch,
            service_info,
            robots,
            health,
            liveness,
            OpenApiController,
        ],
        dependencies={name: Provide(_always(part), use_cache=True) for name, part in ready.items()},
        exception_handlers={Exception: on_error, AccountRequired: challenge},
        openapi_config=None,
        logging_config=None,
    )
    return RequestTracing(SecurityHeaders(RequestChecks(GuessLimits(HeadAsGet(app), callers)), tls=tls))


def _always(part: object):  # type: ignore[no-untyped-def]
    async def provide() -> object:
        return part

    return provide
