"""Opens the connections of the gateway, wires its parts, and serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from gateway.access.guess_limiter import GuessLimiter
from gateway.access.image_access import ImageAccess
from gateway.access.leases import TokenLeases
from gateway.access.limits import Limits
from gateway.access.read_access import ReadAccess
from gateway.access.revoke import Revocations
from gateway.access.vault import VaultUse
from gateway.adapters.access.grants import CachedGrants, RedisGrants
from gateway.adapters.access.leases import RedisLeases
from gateway.adapters.access.limits import RedisBuckets
from gateway.adapters.access.policies import PolicyFiles
from gateway.adapters.access.requesters import RedisRequesters
from gateway.adapters.blobs import BlobStore
from gateway.adapters.build_logs import BuildLogs
from gateway.adapters.build_waiter import BuildWaiter
from gateway.adapters.data_port import RemoteDataPort
from gateway.adapters.events import BuildEvents, RevocationEvents
from gateway.adapters.health import GatewayHealth
from gateway.adapters.image_lookup import CachedLookup, RemoteLookup
from gateway.adapters.images import CachedImages, RemoteImages
from gateway.adapters.inspections import QueuedInspections, RemoteLogins
from gateway.adapters.jobs import JobQueue
from gateway.adapters.log_streams import LogStreams
from gateway.adapters.mirror_plans import QueuedPlans
from gateway.adapters.oidc.open import open_providers
from gateway.adapters.packages import RemotePackages
from gateway.adapters.pull_counter import PullCounter
from gateway.adapters.pull_journal import PullJournal
from gateway.adapters.scans import RunningScanners, ScanJobs, StoredReports
from gateway.adapters.solver import RemoteSolver
from gateway.adapters.usage import RemoteCounters
from gateway.adapters.worker_capabilities import CachedCapabilities
from gateway.app import BuildParts, ContainerParts, ServiceParts, create_app
from gateway.audit.events import Audit
from gateway.audit_parts import open_audit
from gateway.builds.cancel import Cancellations
from gateway.builds.download import Downloads
from gateway.builds.first_status import FirstStatus
from gateway.builds.log_events import LogEvents
from gateway.builds.mirrors import MirrorQueries
from gateway.builds.queries import BuildQueries
from gateway.connections import Connections, open_connections
from gateway.domain.lease_terms import LeaseTerms
from gateway.domain.quota import Quota, Quotas, parse_quota
from gateway.domain.repositories import Repositories
from gateway.domain.server_config import ServerConfig
from gateway.handlers.containers import Submissions
from gateway.handlers.pairing import PairingHandler
from gateway.handlers.registry import RegistryHandler
from gateway.http.caller import Callers, ClientAddress, networks
from gateway.http.edge import Edge
from gateway.http.relay import Relay
from gateway.identity_parts import open_identity_parts
from gateway.inspect import Inspector
from gateway.pages.builds import BuildPages
from gateway.platform.run_leases import CHECK_DUE, RunLeases
from gateway.platform_parts import PlatformParts, open_platforms
from gateway.pull.pulls import Pulls
from gateway.scans.gate import ScanGate
from gateway.scans.queries import ScanQueries
from gateway.scans.request import ScanRequests
from gateway.scans.status import ScanStatus
from gateway.settings import BlobDelivery, ScanGateChoice, Settings
from gateway.submit.audited import AuditedGrants
from gateway.submit.dispatch import Dispatcher
from gateway.submit.mirror import MirrorStarter
from gateway.submit.prepare import RequestPreparer
from gateway.submit.requesters import GrantsWithRequesters
from gateway.submit.start import BuildStarter
from gateway.submit.submit import ContainerRequests
from gateway.vault_parts import open_vault
from swell.concurrency.drain import Drain
from swell.concurrency.notifier import wait_at_most
from swell.concurrency.periodic import every
from swell.errors import Unavailable
from swell.jobs.consume import subscribe
from swell.jobs.messages import BuildDone, ScanDone, TokenRevoked
from swell.log import log
from swell.net.http import ConnectionLimit, listening
from swell.operator_port import operator_port
from swell.otlp import exporting
from swell.serve import address, run_service
from swell.store.blobs import Blobs
from swell.store.builds import RedisBuilds
from swell.store.engines import ScannerNames
from swell.store.leases import Leases
from swell.store.scans import RedisScans
from swell.store.worker_capabilities import WorkerCapabilities

REAP_INTERVAL = timedelta(seconds=5)
START_LEASE = timedelta(seconds=10)  # after that, other gateways may start a build that a stopped gateway was starting


class Shared(NamedTuple):
    """The parts that several use cases need."""

    config: ServerConfig
    builds: RedisBuilds
    grants: CachedGrants
    remote_lookup: RemoteLookup
    lookup: CachedLookup
    images: CachedImages
    access: ImageAccess
    limits: Limits
    inspections: QueuedInspections
    build_waiter: BuildWaiter
    guess_limiter: GuessLimiter
    scans: RedisScans
    scan_gate: ScanGate | None
    client_address: ClientAddress
    read_access: ReadAccess
    policies: PolicyFiles
    audit: Audit


async def main(settings: Settings, drain: Drain) -> None:
    """Serve until cancelled. The HTTP server stops first, so that the last pulls are still counted."""
    async with (
        operator_port("gateway", settings.operator_listen) as operator,
        exporting("gateway", settings.traces_url, settings.trace_sampling),
        open_connections(settings) as connections,
        open_audit(settings, connections) as audit,
        open_vault(settings, connections, audit) as vault,
        open_platforms(settings, connections, vault.use) as platforms,
        open_providers(settings) as providers,
    ):
        shared = create_shared(settings, connections, platforms, audit)
        build_ended = asyncio.Event()
        await subscribe(connections.nats, BuildDone, shared.build_waiter.on_build_done)
        await subscribe(connections.nats, BuildDone, lambda _: build_ended.set())
        await subscribe(connections.nats, TokenRevoked, shared.grants.on_revoked)
        if shared.scan_gate:
            await subscribe(connections.nats, ScanDone, shared.scan_gate.on_scan_done)
        dispatcher = Dispatcher(shared.builds, JobQueue(connections.nats), settings.builds_at_once)
        pull_counter = PullCounter(connections.nats.stream, PullJournal(connections.redis))
        identity = await open_identity_parts(
            settings,
            connections,
            shared.client_address,
            shared.guess_limiter,
            platforms.identities,
            providers,
            shared.policies,
            vault.use,
            shared.audit,
        )
        pairing = pairing_handler(settings, shared, platforms)
        health = GatewayHealth(connections, shared.grants, drain)
        service = ServiceParts(
            identity.accounts,
            identity.key_issuer,
            identity.sessions,
            identity.sign_in,
            vault.vault,
            RemoteCounters(connections.metrics),
            health,
            settings.commit,
        )
        watchers = {"most": settings.watchers, "most_of_one": settings.watchers_of_build}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pull_counter.publish_counts())
            tasks.create_task(dispatch_builds(dispatcher, build_ended))
            tasks.create_task(renew_runs(shared, connections, platforms))
            async with LogStreams(connections.nats, shared.build_waiter, **watchers) as log_streams:
                app = create_app(
                    registry_handler(settings, shared, pull_counter, vault.use),
                    container_parts(settings, shared, connections, dispatcher, identity.callers),
                    build_parts(shared, connections, log_streams),
                    service,
                    identity.callers,
                    read_access=shared.read_access,
                    audit=shared.audit,
                    pairing=pairing,
                    tls=settings.server_url.startswith("https://"),
                )
                async with serving(app, settings, shared, drain, pairing, log_streams):
                    operator.ready = health.ready
                    await asyncio.Event().wait()


@asynccontextmanager
async def serving(
    app: Edge, settings: Settings, shared: Shared, drain: Drain, pairing: PairingHandler | None, log_streams: LogStreams
) -> AsyncIterator[None]:
    """Serve while the block runs; then let requests end within the drain, and close what would stay open."""
    limit = ConnectionLimit(settings.connections_per_address, shared.client_address.of_connection)
    websockets = pairing is not None
    async with listening(app, address(settings.listen), limit=limit, websockets=websockets, drain=drain):
        try:
            yield
        finally:
            if drain.is_started:
                app.start_drain()
                await drain.until(partial(app.running.is_quiet, drain.quiet))
            if pairing:
                pairing.close()
            log_streams.close()  # otherwise their clients would stay connected until the server's timeout


def create_shared(settings: Settings, connections: Connections, platforms: PlatformParts, audit: Audit) -> Shared:
    config = server_config(settings)
    scans = RedisScans(connections.redis, settings.record_ttl, settings.scans_waiting)
    is_gated = settings.scan_gate is ScanGateChoice.PULL
    builds = RedisBuilds(connections.redis, settings.record_ttl, settings.builds_waiting)
    remote = RemoteImages(connections.registry_proxy, relayed=settings.blob_delivery is BlobDelivery.RELAY)
    remote_lookup = RemoteLookup(connections.registry_proxy)
    lookup = CachedLookup(remote_lookup)
    own = (config.repositories.build, config.repositories.cache, config.repositories.public)
    policies = PolicyFiles(settings.policy_file, own, audit)
    return Shared(
        config=config,
        builds=builds,
        grants=CachedGrants(RedisGrants(connections.redis, settings.record_ttl, settings.lease_check)),
        remote_lookup=remote_lookup,
        lookup=lookup,
        images=CachedImages(remote, settings.cache_size),
        access=ImageAccess(config.repositories, lookup, builds, users=platforms.users, policies=policies),
        policies=policies,
        audit=audit,
        limits=Limits(RedisBuckets(connections.redis), quotas(settings), fail_open=settings.limits_fail_open),
        inspections=QueuedInspections(connections.nats),
        build_waiter=BuildWaiter(builds, settings.pull_wait),
        guess_limiter=GuessLimiter(parse_quota(settings.guess_limit)),
        scans=scans,
        scan_gate=ScanGate(scans, config.server_url, settings.pull_wait) if is_gated else None,
        client_address=ClientAddress(networks(settings.trusted_proxies), settings.client_address_header),
        read_access=ReadAccess(settings.record_access, RedisRequesters(connections.redis, settings.record_ttl), builds),
    )


def pairing_handler(settings: Settings, shared: Shared, platforms: PlatformParts) -> PairingHandler | None:
    """The handler of pairing sockets; None without a Platform that may open one."""
    if not any(each.secrets for each in platforms.platforms):
        return None
    return PairingHandler(
        platforms.platforms,
        platforms.pairings,
        platforms.sockets,
        shared.client_address,
        shared.guess_limiter,
        timeout=settings.platform_timeout,
        silence=settings.platform_silence,
    )


async def renew_runs(shared: Shared, connections: Connections, platforms: PlatformParts) -> None:
    """Renew the tokens of live runs until cancelled."""
    leases, terms = RedisLeases(connections.redis), shared.config.lease_terms
    runs = RunLeases(leases, platforms.workspaces, platforms.client, terms)
    await every(min(CHECK_DUE, terms.check), runs.renew_due, event="tokens of runs not renewed")


def registry_handler(
    settings: Settings, shared: Shared, pull_counter: PullCounter, vault: VaultUse | None
) -> RegistryHandler:
    pulls = Pulls(
        shared.grants,
        shared.build_waiter,
        shared.images,
        shared.limits,
        shared.config.server_url,
        shared.guess_limiter,
        anonymous_access=settings.anonymous_access,
        scan_gate=shared.scan_gate,
        vault=vault,
    )
    is_relayed = settings.blob_delivery is BlobDelivery.RELAY
    relay = Relay(RemoteDataPort(settings.spool)) if is_relayed else None
    return RegistryHandler(pulls, pull_counter.count, shared.client_address, relay)


def container_parts(
    settings: Settings, shared: Shared, connections: Connections, dispatcher: Dispatcher, callers: Callers
) -> ContainerParts:
    starter = BuildStarter(
        shared.config.repositories,
        shared.lookup,
        shared.builds,
        shared.limits,
        RemoteSolver(connections.builder),
        Leases(connections.redis, START_LEASE),
        CachedCapabilities(WorkerCapabilities(connections.redis)),
        shared.access,
    )
    mirrors = MirrorStarter(
        shared.config.repositories,
        shared.remote_lookup,
        shared.builds,
        starter,
        shared.access,
        QueuedPlans(connections.nats),
        dispatcher,
    )
    requests = ContainerRequests(
        shared.config,
        AuditedGrants(
            shared.grants if shared.read_access.is_open else GrantsWithRequesters(shared.grants, shared.read_access),
            shared.audit,
        ),
        shared.lookup,
        shared.builds,
        BlobStore(Blobs(connections.layers)),
        shared.access,
        mirrors,
        RequestPreparer(shared.inspections),
        starter,
        dispatcher,
        ScanRequests(
            shared.scans,
            shared.builds,
            shared.lookup,
            RunningScanners(ScannerNames(connections.redis)),
            ScanJobs(connections.nats),
            shared.limits,
            scans_builds=settings.scan_builds,
        ),
    )
    return ContainerParts(
        Submissions(requests, callers, shared.limits),
        mirrors,
        Revocations(shared.grants, RevocationEvents(connections.nats), shared.audit),
        Inspector(shared.inspections, RemoteLogins(connections.registry_proxy), shared.access),
        TokenLeases(RedisLeases(connections.redis), shared.config.lease_terms),
        RemotePackages(connections.builder),
    )


def build_parts(shared: Shared, connections: Connections, log_streams: LogStreams) -> BuildParts:
    logs = BuildLogs(connections.logs, connections.nats.stream)
    queries = BuildQueries(
        shared.grants,
        shared.remote_lookup,
        shared.builds,
        logs,
        shared.config.server_url,
        FirstStatus(shared.grants, shared.build_waiter),
        ScanStatus(shared.scans, shared.config.server_url),
    )
    return BuildParts(
        queries,
        MirrorQueries(shared.builds, queries),
        LogEvents(shared.builds, log_streams, logs),
        Cancellations(shared.builds, BuildEvents(connections.nats), audit=shared.audit),
        Downloads(shared.builds, shared.images, shared.access),
        ScanQueries(shared.scans, StoredReports(connections.reports)),
        BuildPages(queries, shared.builds, logs),
    )


def server_config(settings: Settings) -> ServerConfig:
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
        conda_default_channels=settings.conda_default_channels,
        lease_terms=LeaseTerms(settings.lease_step, settings.lease_limit, settings.lease_check),
    )


def quotas(settings: Settings) -> Quotas:
    return Quotas(
        build=parse_quota(settings.build_limit),
        pull=parse_quota(settings.pull_limit),
        scan=parse_quota(settings.scan_limit),
        anonymous_scan=parse_quota(settings.anonymous_scan_limit),
        anonymous_build=parse_quota(settings.anonymous_build_limit),
        anonymous_pull=parse_quota(settings.anonymous_pull_limit),
        token=live_token_quota(settings.live_tokens, settings.token_ttl),
        anonymous_token=live_token_quota(settings.anonymous_live_tokens, settings.token_ttl),
    )


def live_token_quota(limit: int, lifetime: timedelta) -> Quota | None:
    """The quota that keeps about *limit* tokens of *lifetime* live; None, for no limit, if *limit* is 0."""
    return Quota(limit, max(1, int(lifetime.total_seconds()))) if limit else None


async def dispatch_builds(dispatcher: Dispatcher, build_ended: asyncio.Event) -> None:
    """Dispatch waiting builds after each end of a build, and every 5 s also lost ones, until cancelled."""
    task = asyncio.current_task()
    while not (task and task.cancelling()):  # the Redis client may swallow a cancellation
        try:
            await dispatcher.dispatch()
            if not build_ended.is_set() and (count := await dispatcher.republish_lost()):
                log.warning("lost build jobs published again", count=count)
        except Unavailable as error:
            log.warning("waiting builds not dispatched", error=str(error))
        await wait_at_most(REAP_INTERVAL.total_seconds(), build_ended)
        build_ended.clear()


if __name__ == "__main__":
    run_service("gateway", Settings, main)
