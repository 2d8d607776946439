"""The parts that serve `/v2`."""

from gateway.access.policy_gate import PolicyGate
from gateway.access.vault import VaultUse
from gateway.adapters.counters.pull_counter import PullCounter
from gateway.adapters.registry_proxy.data_port import RemoteDataPort
from gateway.handlers.recent_pulls import RecentPulls
from gateway.handlers.registry import RegistryHandler
from gateway.http.relay import Relay
from gateway.parts.shared import Shared
from gateway.pull.gates import Gates
from gateway.pull.pulls import Pulls
from gateway.settings import BlobDelivery, Settings


def registry_handler(
    settings: Settings, shared: Shared, pull_counter: PullCounter, vault: VaultUse | None
) -> RegistryHandler:
    gate = PolicyGate(shared.policies, shared.access.origins, shared.builds)
    pulls = Pulls(
        shared.grants,
        shared.build_waiter,
        shared.images,
        shared.limits,
        shared.config.server_url,
        shared.guess_limiter,
        anonymous_access=settings.anonymous_access,
        gates=Gates(gate, vault, shared.scan_gate),
    )
    is_relayed = settings.blob_delivery is BlobDelivery.RELAY
    relay = Relay(RemoteDataPort(settings.spool)) if is_relayed else None
    recent = RecentPulls(shared.grants, shared.limits, pull_counter.count, shared.client_address, vault, gate.allows)
    shared.policies.on_change(recent.clear)
    return RegistryHandler(pulls, pull_counter.count, shared.client_address, relay, recent)
