"""What buildkitd can connect to while it builds."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from builder.adapters.workspace import as_build_failure
from builder.buildkit.daemons.daemon import Daemon
from builder.buildkit.network import egress, push_gateway
from builder.buildkit.network.egress import EgressProxy
from builder.buildkit.network.push_gateway import PushGateway
from builder.domain.loopback import allowed_registries
from builder.settings import EngineSettings
from swell_sandbox.forwarding import forwarding


@asynccontextmanager
async def services_of(
    daemon: Daemon, egress_proxy: EgressProxy, gateway: PushGateway, images: Sequence[str], settings: EngineSettings
) -> AsyncIterator[None]:
    """Serve *daemon* in its network, for the length of the block: *egress_proxy*, *gateway*, and registries.

    The registries are those of the base *images* that the operator allows on the loopback interface of this machine.

    Raises:
        BuildFailure: the disk is full, for example.
    """
    services = [(each.host, each.port) for each in allowed_registries(settings.allowed_hosts, images)]
    own = [("127.0.0.1", egress.PORT), (push_gateway.HOST, push_gateway.PORT)]
    with as_build_failure():
        sockets = await daemon.listen([*own, *services])
    proxy, pushes, *others = sockets
    async with AsyncExitStack() as opened:
        for each in sockets:
            opened.callback(each.close)
        await opened.enter_async_context(egress_proxy.serve(proxy))
        await opened.enter_async_context(gateway.serve(pushes, daemon))
        await opened.enter_async_context(forwarding(dict(zip(services, others, strict=True))))
        yield
