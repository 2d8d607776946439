"""Opens what the builder needs, and builds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

from builder.adapters.events import StreamNews
from builder.adapters.interest import BuildWishes
from builder.adapters.leases import RedisClaims
from builder.adapters.logs.build_logs import BuildLogs
from builder.adapters.logs.masking import read_secrets
from builder.adapters.registry import prober, pusher, registry_push
from builder.adapters.stored_contexts import StoredContexts
from builder.adapters.worker_capabilities import Fleet, lacks
from builder.assemble import Assembling
from builder.build import Building, Engine, Engines
from builder.choose_engine import open_engine
from builder.conda.engine import CondaEngine
from builder.handlers.solver import SolverHandler
from builder.settings import Settings, Where
from builder.sif.push import Sifs
from swell.jobs import streams
from swell.jobs.consume import consume, subscribe
from swell.jobs.messages import BuildCancelled, BuildDone, BuildJob, IndexJob
from swell.net.outbound import Policy, open_session
from swell.registry.aws import AwsLogins
from swell.registry.client import RegistryClient
from swell.rpc.server import answering
from swell.rpc.v1.solver_pb2_grpc import add_SolverServicer_to_server
from swell.serve import address, run
from swell.store import objects, redis
from swell.store.blobs import BUCKET as LAYERS
from swell.store.blobs import Blobs
from swell.store.build_waiter import BuildWaiter
from swell.store.builds import RedisBuilds
from swell.store.engines import EngineNames
from swell.store.logs import BUCKET as LOGS
from swell.store.worker_capabilities import WorkerCapabilities

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
        aws = AwsLogins(session, settings)
        registry = registry_push(pusher(session, settings, aws))
        sifs = Sifs(registry, limit=settings.sif_limit, memory=settings.build_memory)
        engine, containers = await opened.enter_async_context(
            open_containers(settings, sifs, aws, prober(session, settings))
        )
        packages = await opened.enter_async_context(CondaEngine.open(settings, session, aws))
        builds = RedisBuilds(state, settings.record_ttl)
        ends = BuildWaiter(builds)
        await subscribe(nats, BuildDone, ends.heard)
        wishes = BuildWishes(builds)
        await subscribe(nats, BuildCancelled, wishes.heard)
        secrets = partial(read_secrets, settings)
        building = Building(
            Engines(containers, packages),
            builds,
            RedisClaims(state, settings.job_lease),
            BuildLogs(nats.stream, logs, settings.workspace / "logs", secrets, settings.log_limit),
            StoredContexts(Blobs(layers), settings.workspace / "contexts"),
            registry,
            StreamNews(nats.stream),
            Assembling(ends, registry, settings.index_patience),
            wishes,
        )
        fleet = Fleet(WorkerCapabilities(state), partial(lacks, settings), EngineNames(state), engine)
        build = partial(fleet.take, building.build)
        solver = SolverHandler(packages.solving)
        await opened.enter_async_context(
            answering(address(settings.listen), lambda server: add_SolverServicer_to_server(solver, server))
        )
        take = partial(consume, nats.stream, lease=settings.job_lease, give_up=building.give_up)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fleet.telling())
            tasks.create_task(take("builder-index", IndexJob, building.build, slots=INDEXES))
            tasks.create_task(take("builder", BuildJob, build, slots=settings.build_concurrency, drain=DRAIN))


@asynccontextmanager
async def open_containers(
    settings: Settings, sifs: Sifs, aws: AwsLogins, public: RegistryClient
) -> AsyncIterator[tuple[str, Engine]]:
    """The engine for container files, here or in a cluster, and its name. *public* is asked what anybody may read."""
    if settings.build_where is Where.HERE:
        async with open_engine(settings, sifs, aws, public) as chosen:
            yield chosen
        return
    from builder.kubernetes.engine import KubernetesEngine  # noqa: PLC0415 (20 MB that few need)

    s3 = settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key
    async with (
        objects.connect(*s3, LAYERS, public_endpoint=settings.s3_endpoint) as layers,
        KubernetesEngine.open(settings, Blobs(layers).link, aws, public) as engine,
    ):
        yield "buildah in Kubernetes", engine


if __name__ == "__main__":
    run("builder", Settings, main, in_loop=asyncio.run)
