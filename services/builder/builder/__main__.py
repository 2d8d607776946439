"""Opens what the builder needs, and builds."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from aiohttp import ClientSession

from builder.adapters.claims import RedisClaims
from builder.adapters.conda import CondaEngine
from builder.adapters.contexts import StoredContexts
from builder.adapters.ends import BuildEnds
from builder.adapters.engine import BuildahEngine
from builder.adapters.logs import BuildLogs
from builder.adapters.news import StreamNews
from builder.adapters.registry import RegistryPush
from builder.adapters.sif import Sifs
from builder.assemble import Assembling
from builder.build import Building, Engines
from builder.handlers.solver import SolverHandler
from builder.settings import Settings
from swell.jobs import streams
from swell.jobs.consume import consume, hear
from swell.jobs.messages import BuildDone, BuildJob, IndexJob
from swell.outbound import Policy, open_session
from swell.registry.aws import AwsLogins
from swell.registry.client import RegistryClient
from swell.registry.credentials import Keyring, parse_auth_file
from swell.rpc.server import answering
from swell.rpc.v1.solver_pb2_grpc import add_SolverServicer_to_server
from swell.serve import address, run
from swell.store import objects, redis
from swell.store.blobs import BUCKET as LAYERS
from swell.store.blobs import Blobs
from swell.store.builds import RedisBuilds
from swell.store.logs import BUCKET as LOGS

INDEXES = 200  # at a time; they do nothing but wait for builds
DRAIN = timedelta(seconds=5)  # for the builds under way when the service is stopped; the others begin again elsewhere


async def main(settings: Settings) -> None:
    async with AsyncExitStack() as opened:
        state = await opened.enter_async_context(redis.connect(settings.redis_url))
        nats = await opened.enter_async_context(streams.connect(settings.nats_url, "builder"))
        s3 = settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key
        layers = await opened.enter_async_context(objects.connect(*s3, LAYERS))
        logs = await opened.enter_async_context(objects.connect(*s3, LOGS))
        session = await opened.enter_async_context(open_session(Policy(settings.allowed_hosts), settings))
        registry = RegistryPush(pusher(session, settings))
        sifs = Sifs(registry, limit=settings.sif_limit, memory=settings.build_memory)
        containers = await opened.enter_async_context(BuildahEngine.open(settings, sifs))
        packages = await opened.enter_async_context(CondaEngine.open(settings, session))
        builds = RedisBuilds(state, settings.record_ttl)
        ends = BuildEnds(builds)
        await hear(nats, BuildDone, ends.heard)
        building = Building(
            Engines(containers, packages),
            builds,
            RedisClaims(state, settings.job_lease),
            BuildLogs(nats.stream, logs, settings.workspace / "logs"),
            StoredContexts(Blobs(layers), settings.workspace / "contexts"),
            registry,
            StreamNews(nats.stream),
            Assembling(ends, registry, settings.index_patience),
        )
        solver = SolverHandler(packages.solving)
        await opened.enter_async_context(
            answering(address(settings.listen), lambda server: add_SolverServicer_to_server(solver, server))
        )
        take = partial(consume, nats.stream, lease=settings.job_lease, give_up=building.give_up)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(take("builder-index", IndexJob, building.build, slots=INDEXES))
            tasks.create_task(take("builder", BuildJob, building.build, slots=settings.build_concurrency, drain=DRAIN))


def pusher(session: ClientSession, settings: Settings) -> RegistryClient:
    """Asks registries with the operator's credentials for pushing; they are read once, at the start."""
    file = settings.push_auth_file
    keyring = parse_auth_file(file.read_bytes()) if file else Keyring()
    insecure, aws = frozenset(settings.insecure_registries), AwsLogins(session, settings)
    return RegistryClient(session, keyring, insecure, actions="pull,push", aws=aws)


if __name__ == "__main__":
    run("builder", Settings, main)
