"""What works of the gateway: which of its tasks need which backend or service."""

from redis.asyncio import Redis

from gateway.adapters.access.grants import CachedGrants
from gateway.connections import Connections
from swell.concurrency.drain import Drain
from swell.errors import Unavailable
from swell.observe.backend_checks import nats_check, redis_check, s3_check, service_check
from swell.observe.health import Check, Health, Report
from swell.store.workers.engines import EngineNames


class Builders:
    """The builders that have reported in the last two minutes; `engines` are their engines when last checked."""

    def __init__(self, redis: Redis) -> None:
        self._names = EngineNames(redis)
        self.engines: list[str] = []

    async def check(self) -> None:
        """Read the names of the engines.

        Raises:
            Unavailable: Redis does not answer, or no builder reports.
        """
        self.engines = []
        self.engines = await self._names.names()
        if not self.engines:
            raise Unavailable("no builder has reported within the last two minutes")


class GatewayHealth:
    """The health of the gateway, with the engines of the builders."""

    def __init__(self, connections: Connections, grants: CachedGrants, drain: Drain) -> None:
        state, queue = redis_check(connections.redis), nats_check(connections.nats)
        logs, layers = s3_check(connections.logs), s3_check(connections.layers)
        proxy = service_check("registry-proxy", connections.registry_proxy)
        metrics = service_check("metrics service", connections.metrics)
        self._builders = Builders(connections.redis)

        async def has_grants() -> None:
            if not grants.can_serve and (problem := await state.problem()):
                raise Unavailable(problem)

        self._health = Health(
            {
                "cached pulls": [Check("the cache of grants", has_grants)],
                "pulls": [state, proxy],
                "requests": [state, proxy],
                "builds": [state, queue, Check("the state store", self._builders.check)],
                "logs": [queue, logs],
                "contexts and layers": [layers],
                "inspections": [queue, proxy],
                "usage": [metrics],
            },
            drain=drain,
        )

    async def report(self) -> Report:
        """Return what works, within 3 s."""
        return await self._health.report()

    async def ready(self) -> dict[str, object]:
        """The body of the operator port's `/ready`; raises `Unavailable`."""
        return await self._health.ready()

    @property
    def engines(self) -> list[str]:
        """The engines that the running builders use for container files, such as `buildkit 0.34.2`."""
        return self._builders.engines
