"""The gateway's HTTP application, put together from ready parts."""

from litestar import Litestar, asgi
from litestar.di import Provide
from litestar.types import ASGIApp

from gateway.follow import Following
from gateway.handlers.builds import BuildsController
from gateway.handlers.containers import ContainersController
from gateway.handlers.errors import on_error
from gateway.handlers.registry import RegistryHandler
from gateway.handlers.service import Backends, health, liveness, service_info
from gateway.handlers.traced import Traced
from gateway.provision import Provisioning


def create_app(
    provisioning: Provisioning, following: Following, registry: RegistryHandler, backends: Backends
) -> ASGIApp:
    ready = {"provisioning": provisioning, "following": following, "backends": backends}
    app = Litestar(
        route_handlers=[
            asgi("/v2", is_mount=True, copy_scope=False)(registry.__call__),
            ContainersController,
            BuildsController,
            service_info,
            health,
            liveness,
        ],
        dependencies={name: Provide(_always(part), use_cache=True) for name, part in ready.items()},
        exception_handlers={Exception: on_error},
        openapi_config=None,
        logging_config=None,
    )
    return Traced(app)


def _always(part: object):  # type: ignore[no-untyped-def]
    async def provide() -> object:
        return part

    return provide
