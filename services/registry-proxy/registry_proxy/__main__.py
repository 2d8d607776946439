"""Open the connections of the registry-proxy, wire its parts, and serve."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import ClientSession
from msgspec import structs
from redis.asyncio import Redis

from registry_proxy.adapters.blob_cache import BlobCache
from registry_proxy.adapters.documents import RedisDocuments
from registry_proxy.adapters.image_cache import ImageCache
from registry_proxy.adapters.layers import Layers
from registry_proxy.adapters.leases import RedisLeases
from registry_proxy.adapters.logins import Logins
from registry_proxy.adapters.proofs import RedisProofs
from registry_proxy.adapters.spool import Spool, open_spool
from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver.access import Access
from registry_proxy.deliver.deliveries import Deliveries
from registry_proxy.deliver.links import Links
from registry_proxy.handlers.blobs import BlobsHandler
from registry_proxy.handlers.events import RevokedLinks, RevokedTokens
from registry_proxy.handlers.images import ImagesHandler
from registry_proxy.handlers.jobs import InspectJobs
from registry_proxy.handlers.registries import RegistriesHandler
from registry_proxy.handlers.server import serve_blobs
from registry_proxy.image_tree.attestation import Sign
from registry_proxy.image_tree.resolve import ImageResolver
from registry_proxy.inspect import Inspector
from registry_proxy.pull import Pulls
from registry_proxy.settings import Settings
from swell.concurrency.drain import Drain
from swell.concurrency.periodic import every
from swell.errors import Unavailable
from swell.jobs import streams
from swell.jobs.consume import consume, subscribe
from swell.jobs.messages import InspectJob, TokenRevoked
from swell.jobs.streams import Nats
from swell.jobs.user_credentials import user_credentials
from swell.jobs.worker_report import WorkerReport
from swell.log import log
from swell.net.outbound import Policy, open_session
from swell.observe.backend_checks import nats_check, redis_check, s3_check
from swell.observe.health import Check, Health
from swell.observe.operator_port import operator_port
from swell.observe.otlp import exporting
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.user_credentials import UserCredentials
from swell.rpc.server import answering
from swell.rpc.v1.images_pb2_grpc import add_ImagesServicer_to_server
from swell.rpc.v1.registries_pb2_grpc import add_RegistriesServicer_to_server
from swell.serve import address, run_service
from swell.store import s3_objects
from swell.store.blobs import CACHED, DOCUMENTS, Blobs
from swell.store.connections import redis
from swell.store.registries import SeenRegistries
from swell.store.s3_objects import S3Objects
from swell.store.workers.running_workers import Workers

NAME = "registry-proxy"
FLUSH_INTERVAL = timedelta(seconds=5)
DOCUMENT_DAYS = 30  # longer than tokens live


class Backends(NamedTuple):
    """The connections to the backends."""

    state: Redis
    nats: Nats
    stored: S3Objects


class Upstreams(NamedTuple):
    """How this service reads registries, and its cache of what it has read."""

    session: ClientSession
    users: UserCredentials
    registries: RegistryUpstream
    images: ImageCache


async def main(settings: Settings, drain: Drain) -> None:
    async with AsyncExitStack() as opened:
        operator = await opened.enter_async_context(operator_port(NAME, settings.operator_listen))
        await opened.enter_async_context(exporting(NAME, settings.traces_url))
        backends = await open_backends(settings, opened)
        seen = SeenRegistries(backends.state)
        upstreams = await open_upstreams(settings, backends.nats, seen, opened)
        spool = opened.enter_context(open_spool(settings.spool, settings.spool_size))
        key = settings.link_key.encode()
        revoked = RevokedLinks(key)
        await subscribe(backends.nats, TokenRevoked, revoked.add)
        documents = RedisDocuments(backends.state, Blobs(backends.stored, DOCUMENTS))
        pulls = pulls_of(settings, backends, upstreams, documents)
        deliveries = await open_deliveries(settings, backends, upstreams, documents, spool, opened)
        blobs, listen = BlobsHandler(deliveries, key, revoked), address(settings.data_listen)
        per_client = settings.connections_per_address
        await opened.enter_async_context(serve_blobs(blobs, listen, per_client=per_client, drain=drain))
        links = Links(deliveries, settings.data_url.rstrip("/"), key)
        images = ImagesHandler(pulls, links, ImageResolver(upstreams.images))
        registries = RegistriesHandler(logins_of(settings, upstreams.session))
        health = health_of(backends.state, backends.nats, backends.stored, drain)
        await opened.enter_async_context(
            answering(
                address(settings.listen),
                lambda server: add_ImagesServicer_to_server(images, server),
                lambda server: add_RegistriesServicer_to_server(registries, server),
                settings=settings.rpc,
                health=health,
                drain=drain,
            )
        )
        operator.ready = health.ready
        source, slots = backends.nats.stream, settings.inspect_slots
        inspections = InspectJobs(Inspector(upstreams.images), backends.nats)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker_report(settings, backends.state, spool).run())
            tasks.create_task(every(FLUSH_INTERVAL, seen.flush, event="registries not recorded"))
            tasks.create_task(consume(source, NAME, InspectJob, inspections.handle, slots=slots, drain=drain))
            tasks.create_task(consume(source, NAME, TokenRevoked, RevokedTokens(pulls, revoked).handle, slots=16))


async def open_backends(settings: Settings, opened: AsyncExitStack) -> Backends:
    """Connect to Redis, NATS and S3, for as long as *opened*."""
    redis_client = await opened.enter_async_context(redis.connect(settings.redis, settings.ca_file))
    nats = await opened.enter_async_context(streams.connect(settings.nats, NAME, settings.ca_file))
    s3 = settings.s3
    stored = await opened.enter_async_context(
        s3_objects.connect(s3, s3.layers_bucket, settings.ca_file, public_endpoint=s3.public_endpoint)
    )
    await set_expiry(stored, settings.blob_cache_days)
    return Backends(redis_client, nats, stored)


async def open_upstreams(settings: Settings, nats: Nats, seen: SeenRegistries, opened: AsyncExitStack) -> Upstreams:
    """Open a session for registries, for as long as *opened*; *seen* records those that answer."""
    session = await opened.enter_async_context(open_session(Policy(settings.allowed_hosts), settings))
    users = user_credentials(nats)
    keys = keyring(settings, users)
    upstream = RegistryUpstream(session, keys, settings.insecure_registries, AwsLogins(session, settings))
    return Upstreams(session, users, upstream, ImageCache(upstream, keys, settings.stale_age, on_response=seen.add))


def pulls_of(settings: Settings, backends: Backends, upstreams: Upstreams, documents: RedisDocuments) -> Pulls:
    proofs, blobs = RedisProofs(backends.state), Blobs(backends.stored)
    layers = Layers(upstreams.session, upstreams.registries, blobs, proofs)
    sign = open_signer(settings.pull_signing_key_file)
    return Pulls(upstreams.images, documents, layers, RedisLeases(backends.state), sign=sign)


async def open_deliveries(
    settings: Settings,
    backends: Backends,
    upstreams: Upstreams,
    documents: RedisDocuments,
    spool: Spool,
    opened: AsyncExitStack,
) -> Deliveries:
    """Open what sends blobs, for as long as *opened*."""
    state, stored, stale_age = backends.state, backends.stored, settings.stale_age
    cache = await opened.enter_async_context(BlobCache(Blobs(stored, CACHED), state, settings.blob_cache_days))
    access = Access(upstreams.registries, RedisProofs(state, stale_age), stale_age, users=upstreams.users)
    deliveries = Deliveries(documents, Blobs(stored), cache, upstreams.registries, spool, access)
    return await opened.enter_async_context(deliveries)


def worker_report(settings: Settings, state: Redis, spool: Spool) -> WorkerReport:
    """The report of this registry-proxy to the operator."""

    def describe() -> dict[str, Any]:
        return {"slots": settings.inspect_slots, "caches": (spool.use,)}

    return WorkerReport(Workers(state), NAME, settings.listen, describe=describe, folders={"spool": spool.folder})


def logins_of(settings: Settings, session: ClientSession) -> Logins:
    return Logins(session, settings.insecure_registries, AwsLogins(session, without_keys(settings)))


def health_of(state: Redis, nats: Nats, stored: S3Objects, drain: Drain) -> Health:
    """The health of the registry-proxy: blobs from registries and the spool need no backend."""
    redis_works, nats_works, s3_works = redis_check(state), nats_check(nats), s3_check(stored)
    abilities: dict[str, list[Check]] = {
        "blobs": [],
        "stored blobs": [s3_works],
        "manifests": [redis_works],
        "inspections": [nats_works],
    }
    return Health(abilities, drain=drain)


def open_signer(key_file: Path | None) -> Sign | None:
    """Return what signs augmented images with the private key in *key_file*; None without one."""
    if key_file is None:
        return None
    from swell.signing.bundles import sign  # noqa: PLC0415 (10 MB of memory that few need)
    from swell.signing.keys import load_signer  # noqa: PLC0415

    return partial(sign, signer=load_signer(key_file.read_bytes()))


def without_keys(settings: Settings) -> Settings:
    """Return *settings* without AWS keys, for requests that a user controls."""
    return structs.replace(settings, aws_access_key_id="", aws_secret_access_key="", aws_session_token=None)


def keyring(settings: Settings, users: UserCredentials) -> Keyring:
    """Read the operator's credentials, once at startup; *users* has those of users."""
    allows = settings.credential_rules.may_read
    file = settings.registry_auth_file
    return parse_auth_file(file.read_bytes(), allows, users) if file else Keyring(users=users)


async def set_expiry(store: S3Objects, days: int) -> None:
    """Set the store's lifecycle rules, which delete unused objects; log a warning if it does not support them."""
    try:
        await store.expire(CACHED, days)
        await store.expire(DOCUMENTS, DOCUMENT_DAYS)
    except Unavailable as error:
        log.warning("blob cache is unbounded: the object store accepts no lifecycle rule", error=str(error))


if __name__ == "__main__":
    run_service(NAME, Settings, main)
