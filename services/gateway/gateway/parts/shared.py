"""The parts that several use cases need."""

from typing import NamedTuple

from gateway.access.guess_limiter import GuessLimiter
from gateway.access.images.image_access import ImageAccess
from gateway.access.limits import Limits
from gateway.access.read_access import ReadAccess
from gateway.adapters.access.grants import CachedGrants, RedisGrants
from gateway.adapters.access.limits import RedisBuckets
from gateway.adapters.access.policies import PolicyFiles
from gateway.adapters.access.requesters import RedisRequesters
from gateway.adapters.builds.build_waiter import BuildWaiter
from gateway.adapters.builds.users_builds import RedisUsersBuilds
from gateway.adapters.registry_proxy.image_lookup import CachedLookup, RemoteLookup
from gateway.adapters.registry_proxy.images import CachedImages, RemoteImages
from gateway.adapters.registry_proxy.inspections import QueuedInspections
from gateway.audit.events import Audit
from gateway.connections import Connections
from gateway.domain.quota import parse_quota
from gateway.domain.server_config import ServerConfig
from gateway.http.caller import ClientAddress, networks
from gateway.parts.config import quotas, server_config
from gateway.parts.platforms import PlatformParts
from gateway.scans.gate import ScanGate
from gateway.settings import BlobDelivery, ScanGateChoice, Settings
from swell.store.builds import RedisBuilds
from swell.store.scans import RedisScans


class Shared(NamedTuple):
    """The parts that several use cases need."""

    config: ServerConfig
    builds: RedisBuilds
    users_builds: RedisUsersBuilds
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
        users_builds=RedisUsersBuilds(connections.redis, settings.record_ttl),
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
