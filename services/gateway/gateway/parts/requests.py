"""The parts for container requests, and what clients may ask about images."""

from collections.abc import Callable
from datetime import timedelta

from gateway.access.leases import TokenLeases
from gateway.access.revoke import Revocations
from gateway.adapters.access.leases import RedisLeases
from gateway.adapters.blobs import BlobStore
from gateway.adapters.builds.events import RevocationEvents
from gateway.adapters.builds.packages import RemotePackages
from gateway.adapters.builds.solver import RemoteSolver
from gateway.adapters.builds.worker_capabilities import CachedCapabilities
from gateway.adapters.registry_proxy.inspections import RemoteLogins
from gateway.adapters.registry_proxy.mirror_plans import QueuedPlans
from gateway.adapters.scans import RunningScanners, ScanJobs
from gateway.app import ContainerParts
from gateway.connections import Connections
from gateway.domain.grant import Grant
from gateway.handlers.submissions import Submissions
from gateway.http.caller import Callers
from gateway.inspect import Inspector
from gateway.notices.queue import Follow
from gateway.package_search import PackageSearch
from gateway.parts.shared import Shared
from gateway.scans.request import ScanRequests
from gateway.settings import Settings
from gateway.submit.audited import AuditedGrants
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.builds.mirror import MirrorStarter
from gateway.submit.builds.start import BuildStarter
from gateway.submit.builds.users_builds import GrantsWithUsersBuilds
from gateway.submit.prepare import RequestPreparer
from gateway.submit.requesters import GrantsWithRequesters
from gateway.submit.secrets import StoredSecrets
from gateway.submit.submit import ContainerRequests
from swell.store.blobs import Blobs
from swell.store.leases import Leases
from swell.store.workers.capabilities import WorkerCapabilities
from swell.store.workers.engines import ScannerNames

START_LEASE = timedelta(seconds=10)  # after that, other gateways may start a build that a stopped gateway was starting


def container_parts(
    settings: Settings,
    shared: Shared,
    connections: Connections,
    dispatcher: Dispatcher,
    callers: Callers,
    count_hit: Callable[[Grant], None],
    notices: Follow,
    secrets: StoredSecrets,
) -> ContainerParts:
    starter = build_starter(shared, connections)
    mirrors = MirrorStarter(
        shared.config.repositories,
        shared.remote_lookup,
        shared.builds,
        starter,
        shared.access,
        QueuedPlans(connections.nats),
        dispatcher,
        notices,
    )
    requests = ContainerRequests(
        shared.config,
        recorded_grants(shared),
        shared.lookup,
        shared.builds,
        BlobStore(Blobs(connections.layers)),
        shared.access,
        mirrors,
        RequestPreparer(shared.inspections),
        starter,
        dispatcher,
        scan_requests(settings, shared, connections),
        count_hit=count_hit,
        notices=notices,
        secrets=secrets,
    )
    return ContainerParts(
        Submissions(requests, callers, shared.limits),
        mirrors,
        Revocations(shared.grants, RevocationEvents(connections.nats), shared.audit),
        Inspector(shared.inspections, RemoteLogins(connections.registry_proxy), shared.access),
        TokenLeases(RedisLeases(connections.redis), shared.config.lease_terms),
        PackageSearch(RemotePackages(connections.builder)),
    )


def build_starter(shared: Shared, connections: Connections) -> BuildStarter:
    return BuildStarter(
        shared.config.repositories,
        shared.lookup,
        shared.builds,
        shared.limits,
        RemoteSolver(connections.builder),
        Leases(connections.redis, START_LEASE),
        CachedCapabilities(WorkerCapabilities(connections.redis)),
        shared.access,
    )


def recorded_grants(shared: Shared) -> AuditedGrants:
    """The grants, with what is stored beside them: the builds of users, the requesters of records, audit events."""
    grants = GrantsWithUsersBuilds(shared.grants, shared.users_builds)
    is_open = shared.read_access.is_open
    return AuditedGrants(grants if is_open else GrantsWithRequesters(grants, shared.read_access), shared.audit)


def scan_requests(settings: Settings, shared: Shared, connections: Connections) -> ScanRequests:
    return ScanRequests(
        shared.scans,
        shared.builds,
        shared.lookup,
        RunningScanners(ScannerNames(connections.redis)),
        ScanJobs(connections.nats),
        shared.limits,
        scans_builds=settings.scan_builds,
    )
