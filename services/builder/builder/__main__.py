"""Opens what the builder needs, and builds."""

from contextlib import AsyncExitStack
from datetime import timedelta

from aiohttp import ClientSession

from builder.adapters.claims import RedisClaims
from builder.adapters.contexts import StoredContexts
from builder.adapters.engine import BuildahEngine
from builder.adapters.logs import BuildLogs
from builder.adapters.news import StreamNews
from builder.adapters.registry import RegistryPush
from builder.adapters.sif import Sifs
from builder.build import Building
from builder.settings import Settings
from swell.jobs import streams
from swell.jobs.consume import consume
from swell.jobs.messages import BuildJob
from swell.outbound import Policy, open_session
from swell.registry.client import RegistryClient
from swell.registry.credentials import Keyring, parse_auth_file
from swell.rpc.server import answering
from swell.serve import address, run
from swell.store import objects, redis
from swell.store.blobs import BUCKET as LAYERS
from swell.store.blobs import Blobs
from swell.store.builds import RedisBuilds
from swell.store.logs import BUCKET as LOGS

DRAIN = timedelta(seconds=5)  # for the builds under way when the service is stopped; the others begin again elsewhere


async def main(settings: Settings) -> None:
    async with AsyncExitStack() as opened:
        state = await opened.enter_async_context(redis.connect(settings.redis_url))
        nats = await opened.enter_async_context(streams.connect(settings.nats_url, "builder"))
        s3 = settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key
        layers = await opened.enter_async_context(objects.connect(*s3, LAYERS))
        logs = await opened.enter_async_context(objects.connect(*s3, LOGS))
        session = await opened.enter_async_context(open_session(Policy(settings.allowed_hosts)))
        registry = RegistryPush(pusher(session, settings))
        sifs = Sifs(registry, limit=settings.sif_limit, memory=settings.build_memory)
        engine = await opened.enter_async_context(BuildahEngine.open(settings, sifs))
        building = Building(
            engine,
            RedisBuilds(state, settings.record_ttl),
            RedisClaims(state, settings.job_lease),
            BuildLogs(nats.stream, logs, settings.workspace / "logs"),
            StoredContexts(Blobs(layers), settings.workspace / "contexts"),
            registry,
            StreamNews(nats.stream),
        )
        await opened.enter_async_context(answering(address(settings.listen)))
        await consume(
            nats.stream,
            "builder",
            BuildJob,
            building.build,
            slots=settings.build_concurrency,
            lease=settings.job_lease,
            drain=DRAIN,
            give_up=building.give_up,
        )


def pusher(session: ClientSession, settings: Settings) -> RegistryClient:
    """Asks registries with the operator's credentials for pushing; they are read once, at the start."""
    file = settings.push_auth_file
    keyring = parse_auth_file(file.read_bytes()) if file else Keyring()
    return RegistryClient(session, keyring, frozenset(settings.insecure_registries), actions="pull,push")


if __name__ == "__main__":
    run("builder", Settings, main)
