"""The parts that operators use."""

from gateway.access.webhooks import WebhookStore
from gateway.adapters.counters.usage import RemoteCounters
from gateway.adapters.health import GatewayHealth
from gateway.adapters.notices.preferences import RedisPreferences
from gateway.app import ServiceParts
from gateway.connections import Connections
from gateway.parts.identity import IdentityParts
from gateway.parts.vault import VaultParts
from gateway.settings import Settings


def service_parts(
    settings: Settings,
    connections: Connections,
    identity: IdentityParts,
    vault: VaultParts,
    webhooks: WebhookStore,
    health: GatewayHealth,
) -> ServiceParts:
    return ServiceParts(
        identity.accounts,
        identity.account_manager,
        identity.key_issuer,
        identity.sessions,
        identity.sign_in,
        vault.vault,
        webhooks,
        RedisPreferences(connections.redis),
        RemoteCounters(connections.metrics),
        health,
        settings.commit,
    )
