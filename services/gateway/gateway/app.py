"""The gateway's HTTP application, put together from ready parts."""

from litestar import Litestar, asgi
from litestar.di import Provide
from litestar.types import ASGIApp

from gateway.accounts import Accounts
from gateway.cancel import Cancelling
from gateway.download import Downloads
from gateway.follow import Following
from gateway.handlers.builds import BuildsController, builds
from gateway.handlers.caller import Callers
from gateway.handlers.containers import ContainersController, LiveTokens, Submissions, TokensController
from gateway.handlers.credentials import CredentialsController
from gateway.handlers.errors import on_error
from gateway.handlers.guess_limits import GuessLimits
from gateway.handlers.head import HeadAsGet
from gateway.handlers.inspect import InspectController
from gateway.handlers.metrics import challenge, metric, metric_of_any_arch
from gateway.handlers.openapi import OpenApiController
from gateway.handlers.registry import RegistryHandler
from gateway.handlers.request_checks import RequestChecks
from gateway.handlers.secured import Secured
from gateway.handlers.service import Backends, health, liveness, robots, service_info
from gateway.handlers.traced import Traced
from gateway.inspect import Inspecting
from gateway.provision import Provisioning
from gateway.revoke import Revoking
from gateway.usage import Counters
from gateway.watch import Watching
from swell.errors import AccountRequired


def create_app(
    provisioning: Provisioning,
    following: Following,
    watching: Watching,
    cancelling: Cancelling,
    downloads: Downloads,
    revoking: Revoking,
    inspecting: Inspecting,
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
        "submissions": Submissions(provisioning, callers, live),
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
    return Traced(Secured(RequestChecks(GuessLimits(HeadAsGet(app), callers)), tls=tls))


def _always(part: object):  # type: ignore[no-untyped-def]
    async def provide() -> object:
        return part

    return provide
