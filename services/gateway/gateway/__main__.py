"""Opens what the gateway needs, and serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import NamedTuple

from grpc.aio import Channel
from redis.asyncio import Redis

from gateway.access.authenticator import Authenticator
from gateway.access.guess_limiter import GuessLimiter
from gateway.access.image_access import ImageAccess
from gateway.access.limits import Limits
from gateway.access.revoke import Revocations
from gateway.adapters.accounts import read_accounts
from gateway.adapters.api_keys import ApiKeys
from gateway.adapters.blobs import BlobStore
from gateway.adapters.build_logs import BuildLogs
from gateway.adapters.build_waiter import BuildWaiter
from gateway.adapters.data_port import RemoteDataPort
from gateway.adapters.events import BuildEvents, RevocationEvents
from gateway.adapters.grants import CachedGrants, RedisGrants
from gateway.adapters.health import Backends
from gateway.adapters.images import CachedImages, RemoteImages
from gateway.adapters.inspections import QueuedInspections, RemoteLogins
from gateway.adapters.jobs import JobQueue
from gateway.adapters.limits import RedisBuckets
from gateway.adapters.log_streams import LogStreams
from gateway.adapters.pull_counter import PullCounter
from gateway.adapters.solver import RemoteSolver
from gateway.adapters.usage import RemoteCounters
from gateway.adapters.worker_capabilities import CachedCapabilities
from gateway.app import create_app
from gateway.builds.cancel import Cancellations
from gateway.builds.download import Downloads
from gateway.builds.log_events import LogEvents
from gateway.builds.queries import BuildQueries
from gateway.domain.quota import Quota, Quotas, parse_quota
from gateway.domain.repositories import Repositories
from gateway.handlers.registry import RegistryHandler
from gateway.http.caller import Callers, ClientAddress, networks
from gateway.http.relay import Relay
from gateway.inspect import Inspector
from gateway.pull.pulls import Pulls
from gateway.settings import BlobDelivery, Settings
from gateway.submit.dispatch import Dispatcher
from gateway.submit.prepare import RequestPreparer
from gateway.submit.start import BuildStarter
from gateway.submit.submit import ContainerRequests, ServerConfig
from swell.concurrency.notifier import wait_at_most
from swell.errors import Unavailable
from swell.jobs import streams
from swell.jobs.consume import subscribe
from swell.jobs.messages import BuildDone, TokenRevoked
from swell.jobs.streams import Nats
from swell.log import log
from swell.net.http import ConnectionLimit, listening
from swell.rpc.channel import connect
from swell.serve import address, run
from swell.store import objects, redis
from swell.store.blobs import BUCKET as LAYERS
from swell.store.blobs import Blobs
from swell.store.builds import RedisBuilds
from swell.store.leases import Leases
from swell.store.logs import BUCKET as LOGS
from swell.store.objects import S3Objects
from swell.store.worker_capabilities import WorkerCapabilities

REAP_EVERY = timedelta(seconds=5)
START_LEASE = timedelta(seconds=10)  # others may start what a gateway started that is gone since


class Neighbours(NamedTuple):
    """What the gateway talks to while it runs."""

    state: Redis
    nats: Nats
    layers: S3Objects
    logs: S3Objects
    registry_proxy: Channel
    metrics: Channel
    builder: Channel


@asynccontextmanager
async def open_neighbours(settings: Settings) -> AsyncIterator[Neighbours]:
    """Connect to all; what has state must answer, the other services may come later."""
    s3 = settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key
    async with (
        redis.connect(settings.redis_url) as state,
        streams.connect(settings.nats_url, "gateway") as nats,
        objects.connect(*s3, LAYERS) as layers,
        objects.connect(*s3, LOGS) as logs,
        connect(settings.registry_proxy) as registry_proxy,
        connect(settings.metrics) as metrics,
        connect(settings.builder) as builder,
    ):
        yield Neighbours(state, nats, layers, logs, registry_proxy, metrics, builder)


async def main(settings: Settings) -> None:
    async with open_neighbours(settings) as (state, nats, layers, logs, registry_proxy, metrics, builder):
        builds = RedisBuilds(state, settings.record_ttl, settings.builds_waiting)
        grants = CachedGrants(RedisGrants(state, settings.record_ttl))
        is_relayed = settings.blob_delivery is BlobDelivery.RELAY
        relay = Relay(RemoteDataPort(settings.spool)) if is_relayed else None
        remote = RemoteImages(registry_proxy, relayed=is_relayed)
        images = CachedImages(remote, settings.cache_size)
        ends = BuildWaiter(builds, settings.pull_wait)
        some_ended = asyncio.Event()
        await subscribe(nats, BuildDone, ends.heard)
        await subscribe(nats, BuildDone, lambda _: some_ended.set())
        await subscribe(nats, TokenRevoked, grants.revoked)
        tally = PullCounter(nats.stream)
        server_config = server_config_from(settings)
        build_logs = BuildLogs(logs, nats.stream)
        feeds = LogStreams(nats, ends, most=settings.watchers, most_of_one=settings.watchers_of_build)
        limits = Limits(RedisBuckets(state), quotas(settings), fail_open=settings.limits_fail_open)
        inspections = QueuedInspections(nats)
        solver, leases, capabilities = (
            RemoteSolver(builder),
            Leases(state, START_LEASE),
            CachedCapabilities(WorkerCapabilities(state)),
        )
        access = ImageAccess(server_config.repositories, images, builds)
        starter = BuildStarter(server_config.repositories, images, builds, limits, solver, leases, capabilities, access)
        dispatcher = Dispatcher(builds, JobQueue(nats), settings.builds_at_once)
        blobs, preparer = BlobStore(Blobs(layers)), RequestPreparer(inspections)
        container_requests = ContainerRequests(
            server_config, grants, images, builds, blobs, access, preparer, starter, dispatcher
        )
        client_address = ClientAddress(networks(settings.trusted_proxies), settings.client_address_header)
        guesses = GuessLimiter(parse_quota(settings.guess_limit))
        is_open = settings.anonymous_access
        pulls = Pulls(grants, ends, images, limits, server_config.server_url, guesses, anonymous_access=is_open)
        admission = Authenticator(ApiKeys(settings.api_keys_file), anonymous_access=is_open)
        app = create_app(
            container_requests,
            BuildQueries(grants, remote, builds, build_logs, server_config.server_url),
            LogEvents(builds, feeds, build_logs),
            Cancellations(builds, BuildEvents(nats)),
            Downloads(builds, images, access),
            Revocations(grants, RevocationEvents(nats)),
            Inspector(inspections, RemoteLogins(registry_proxy), access),
            read_accounts(settings.accounts_file),
            RemoteCounters(metrics),
            RegistryHandler(pulls, tally.pulled, client_address, relay),
            Callers(admission, client_address, guesses),
            Backends(state, nats),
            limits,
            tls=settings.server_url.startswith("https://"),
            commit=settings.commit,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(tally.tell())
            tasks.create_task(keep_dispatching(dispatcher, some_ended))
            most = ConnectionLimit(settings.connections_per_address, client_address.of_connection)
            async with listening(app, address(settings.listen), limit=most):  # closed first, to publish its last pulls
                try:
                    await asyncio.Event().wait()
                finally:
                    feeds.close()  # watchers would stay as long as they may


def server_config_from(settings: Settings) -> ServerConfig:
    repositories = Repositories(
        build=settings.build_repository,
        cache=settings.cache_repository,
        public=settings.public_repository,
        reserved=settings.reserved_words,
    )
    return ServerConfig(
        server_url=settings.server_url.rstrip("/"),
        repositories=repositories,
        token_ttl=settings.token_ttl,
        allows_missing_platforms=settings.allow_missing_platforms,
    )


def quotas(settings: Settings) -> Quotas:
    return Quotas(
        build=parse_quota(settings.build_limit),
        pull=parse_quota(settings.pull_limit),
        anonymous_build=parse_quota(settings.anonymous_build_limit),
        anonymous_pull=parse_quota(settings.anonymous_pull_limit),
        token=live_tokens(settings.live_tokens, settings.token_ttl),
        anonymous_token=live_tokens(settings.anonymous_live_tokens, settings.token_ttl),
    )


def live_tokens(most: int, life: timedelta) -> Quota | None:
    """The quota of which about *most* tokens are live when each lives *life*; None for 0."""
    return Quota(most, max(1, int(life.total_seconds()))) if most else None


async def keep_dispatching(dispatcher: Dispatcher, some_ended: asyncio.Event) -> None:
    """Release builds that wait, whenever *some_ended*, and now and then look for what was forgotten, for ever."""
    task = asyncio.current_task()
    while not (task and task.cancelling()):  # Redis's client may swallow a cancellation
        try:
            await dispatcher.dispatch()
            if not some_ended.is_set() and (count := await dispatcher.republish_lost()):
                log.warning("jobs of a gateway that stopped were published", count=count)
        except Unavailable as error:
            log.warning("cannot look for builds that wait", error=str(error))
        await wait_at_most(REAP_EVERY.total_seconds(), some_ended)
        some_ended.clear()


if __name__ == "__main__":
    run("gateway", Settings, main)
