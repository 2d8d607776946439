"""The parts of the builder: its connections, engines and use cases, each opened for as long as an exit stack."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from aiohttp import ClientSession
from redis.asyncio import Redis

from builder.adapters.attachments import RegistryAttachments, StoredAttestations
from builder.adapters.copies import OpenRegistryCopies
from builder.adapters.events import StreamEvents
from builder.adapters.inputs.auth_files import AuthFiles
from builder.adapters.inputs.base_configs import RegistryConfigs
from builder.adapters.inputs.build_secrets import AllSecrets, BuildSecrets
from builder.adapters.inputs.stored_contexts import StoredContexts
from builder.adapters.interest import BuildInterest
from builder.adapters.leases import RedisLeases
from builder.adapters.logs.build_logs import BuildLogs
from builder.adapters.logs.masking import read_secrets
from builder.adapters.registry import prober, pusher, registry_push
from builder.assemble import IndexAssembler
from builder.attest.builds import Attester
from builder.build import BuildRunner
from builder.choose_engine import NoEngine, open_engine
from builder.conda.engine import CondaEngine
from builder.engine import ContainerEngine, Engines
from builder.handlers.mirrors import MirrorPlans
from builder.ignore_triggers import IgnoresTriggers
from builder.keyless.notary import KeylessNotary
from builder.mirror import Mirroring
from builder.settings import EngineChoice, Settings, Sign, Where
from builder.sif.push import Sifs
from builder.steps import Steps
from builder.unpushed import DAYS, PREFIX, UnpushedImages
from swell.concurrency.drain import Drain
from swell.errors import Unavailable
from swell.jobs import streams
from swell.jobs.build_secrets import find_secret
from swell.jobs.consume import subscribe
from swell.jobs.messages import (
    BuildCancelled,
    BuildDone,
)
from swell.jobs.streams import Nats
from swell.jobs.user_credentials import user_credentials
from swell.log import log
from swell.net.outbound import Policy, open_session
from swell.observe.backend_checks import nats_check, redis_check
from swell.observe.health import Check, Health
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.user_credentials import UserCredentials
from swell.registry.push import RegistryPush
from swell.signing.bundles import KeyNotary, Notary
from swell.signing.keys import load_signer, load_trusted_keys
from swell.store import s3_objects
from swell.store.blobs import Blobs
from swell.store.build_waiter import BuildWaiter
from swell.store.builds import RedisBuilds
from swell.store.connections import redis
from swell.store.s3_objects import S3Objects


class Backends(NamedTuple):
    """The connections to the backends."""

    state: Redis
    nats: Nats
    layers: S3Objects
    logs: S3Objects


class Registries(NamedTuple):
    """How this builder reaches registries: `pushes` with the operator's credentials, `public` without."""

    session: ClientSession
    aws: AwsLogins
    users: UserCredentials
    pushes: RegistryClient
    push: RegistryPush
    public: RegistryClient


class Installed(NamedTuple):
    """The engines of this builder; `name` is that of the one for container files, with its version."""

    name: str
    containers: ContainerEngine
    packages: CondaEngine
    steps: Steps
    unpushed: UnpushedImages


class Runners(NamedTuple):
    """What runs the jobs, and the logs that it writes."""

    builds: BuildRunner
    mirrors: BuildRunner
    plans: MirrorPlans
    logs: BuildLogs


async def open_registries(settings: Settings, nats: Nats, opened: AsyncExitStack) -> Registries:
    """Open a session for registries, for as long as *opened*."""
    session = await opened.enter_async_context(open_session(Policy(settings.allowed_hosts), settings))
    aws, users = AwsLogins(session, settings), user_credentials(nats)
    pushes = pusher(session, settings, aws, users)
    return Registries(session, aws, users, pushes, registry_push(pushes), prober(session, settings, users))


async def open_engines(
    settings: Settings, backends: Backends, registries: Registries, opened: AsyncExitStack
) -> Installed:
    """Start the engines, for as long as *opened*."""
    registry = registries.push
    sifs = Sifs(registry, limit=settings.sif_limit, memory=settings.build_memory)
    unpushed = UnpushedImages(backends.layers, registry, settings.workspace / "unpushed", settings.build_timeout)
    name, containers = await opened.enter_async_context(
        open_containers(settings, sifs, registries.aws, registries.public, unpushed)
    )
    session, aws, users = registries.session, registries.aws, registries.users
    packages = await opened.enter_async_context(CondaEngine.open(settings, session, aws, users))
    return Installed(name, containers, packages, Steps(containers), unpushed)


async def open_runners(
    settings: Settings, backends: Backends, registries: Registries, installed: Installed, builds: RedisBuilds
) -> Runners:
    """Connect what runs jobs, and subscribe to ends and cancellations of builds."""
    session, aws, users, pushes, registry, public = registries
    waiter, interest = BuildWaiter(builds), BuildInterest(builds)
    await subscribe(backends.nats, BuildDone, waiter.heard)
    await subscribe(backends.nats, BuildCancelled, interest.on_cancelled)
    secrets = partial(read_secrets, settings)
    logs = BuildLogs(backends.nats.stream, backends.logs, settings.workspace / "logs", secrets, settings.log_limit)
    credentials = AuthFiles(settings, aws, registry=public)
    building = IgnoresTriggers(installed.containers, RegistryConfigs(session, settings, credentials))
    running = partial(
        BuildRunner,
        Engines(building, installed.packages, installed.name),
        builds,
        RedisLeases(backends.state, settings.job_lease),
        logs,
        StoredContexts(Blobs(backends.layers), settings.workspace / "contexts"),
        AllSecrets(BuildSecrets(settings.build_secrets), partial(find_secret, backends.nats)),
        registry,
        StreamEvents(backends.nats.stream),
        interest=interest,
        unpushed=installed.unpushed,
    )
    mirroring = Mirroring(OpenRegistryCopies(session, settings, aws, pushes, users), settings.mirror_timeout)
    return Runners(
        running(IndexAssembler(waiter, registry, settings.index_patience, settings.build_timeout)),
        running(mirroring),
        MirrorPlans(mirroring, backends.nats),
        logs,
    )


def health_of(state: Redis, nats: Nats, steps: Steps, engine: ContainerEngine, drain: Drain) -> Health:
    """The health of the builder, which is not ready while build steps cannot run, unless no engine is installed."""
    is_for_packages = isinstance(engine, NoEngine) and engine.is_missing
    redis_works, nats_works = redis_check(state), nats_check(nats)
    steps_run = Check("build steps", steps.check)
    abilities = {
        "container files": [redis_works, nats_works, steps_run],
        "packages": [redis_works, nats_works],
        "solving": [redis_works],  # the solver needs no backend, and the requests that need it need Redis
        "mirrors": [redis_works, nats_works],
    }
    return Health(abilities, required=[] if is_for_packages else [steps_run], drain=drain)


async def open_backends(settings: Settings, opened: AsyncExitStack) -> Backends:
    """Connect to Redis, NATS and two buckets of S3, for as long as *opened*."""
    s3, ca_file = settings.s3, settings.ca_file
    backends = Backends(
        await opened.enter_async_context(redis.connect(settings.redis, ca_file)),
        await opened.enter_async_context(streams.connect(settings.nats, "builder", ca_file)),
        await opened.enter_async_context(s3_objects.connect(s3, s3.layers_bucket, ca_file)),
        await opened.enter_async_context(s3_objects.connect(s3, s3.logs_bucket, ca_file)),
    )
    await set_expiry(backends.layers, backends.logs, settings.record_ttl)
    return backends


async def open_attester(
    settings: Settings, builds: RedisBuilds, registry: RegistryClient, logs: s3_objects.S3Objects
) -> Attester | None:
    """Return the attester with the operator's key or identity; None if nothing is signed."""
    if (notary := await open_notary(settings, logs)) is None:
        return None
    return Attester(builds, RegistryAttachments(registry), StoredAttestations(logs), notary)


async def open_notary(settings: Settings, logs: s3_objects.S3Objects) -> Notary | None:
    """Return what signs by the settings; None if nothing is signed. Raises `SettingsInvalid`."""
    former = settings.trusted_keys_file.read_bytes() if settings.trusted_keys_file else b""
    signer = load_signer(settings.signing_key_file.read_bytes()) if settings.signing_key_file else None
    keys = load_trusted_keys(*([signer.public_key] if signer else []), former)
    if settings.sign is Sign.KEYLESS:
        keyless = KeylessNotary(settings, logs, keys)
        await keyless.check()
        return keyless
    return KeyNotary(signer, keys) if signer and settings.sign is Sign.KEY else None


async def set_expiry(layers: S3Objects, logs: S3Objects, record_ttl: timedelta) -> None:
    """Set the lifecycle rules: logs expire after the records of their builds, and images that were not pushed soon."""
    try:
        await logs.expire("", record_ttl.days + 1)
        await layers.expire(PREFIX, DAYS)
    except Unavailable as error:
        log.warning("logs are stored for ever: the object store accepts no lifecycle rule", error=str(error))


@asynccontextmanager
async def open_containers(
    settings: Settings, sifs: Sifs, aws: AwsLogins, public: RegistryClient, unpushed: UnpushedImages
) -> AsyncIterator[tuple[str, ContainerEngine]]:
    """Yield the engine for container files, local or in a cluster, and its name.

    *public* is a registry client without credentials, which finds out whether a base image is public.
    """
    if settings.build_where is Where.HERE:
        async with open_engine(settings, sifs, aws, public, unpushed) as engine:
            yield engine
        return
    from builder.kubernetes.engine import KubernetesEngine  # noqa: PLC0415 (20 MB of memory that few need)

    s3 = settings.s3
    async with (
        s3_objects.connect(s3, s3.layers_bucket, settings.ca_file, public_endpoint=s3.endpoint) as layers,
        KubernetesEngine.open(settings, Blobs(layers).link, aws, public) as engine,
    ):
        chosen = "" if settings.engine is EngineChoice.AUTO else f"{settings.engine} in "
        log.info("engine chosen", engine=f"{chosen}Kubernetes", image=settings.kubernetes_image)
        yield f"{chosen}Kubernetes", engine
