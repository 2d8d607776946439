"""The parts of the gateway for stored credentials, wired."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from gateway.access.vault import Vault, VaultUse
from gateway.access.vault_secrets import VaultSecrets
from gateway.adapters.access.secret_references import RedisSecretReferences
from gateway.adapters.access.vaults import CachedStates, RedisVaults
from gateway.adapters.builds.events import RevocationEvents
from gateway.audit.events import Audit
from gateway.connections import Connections
from gateway.settings import Settings
from gateway.submit.secrets import NO_STORED_SECRETS, StoredSecrets
from swell.encryption import parse_keys
from swell.jobs.build_secrets import SUBJECT, FindSecret, FoundSecret
from swell.jobs.calls import receiving
from swell.jobs.consume import subscribe
from swell.jobs.messages import VaultChanged
from swell.registry.credentials.principal import rules_of
from swell.store.encrypted import EncryptedRecords


class VaultParts(NamedTuple):
    """`use` is None without encryption keys: then nothing is stored."""

    vault: Vault
    use: VaultUse | None
    secrets: StoredSecrets = NO_STORED_SECRETS


@asynccontextmanager
async def open_vault(settings: Settings, connections: Connections, audit: Audit) -> AsyncIterator[VaultParts]:
    """Yield the parts, which follow changes of vaults at other gateways.

    While the block runs, this gateway finds build secrets for the builders.

    Raises:
        SettingsInvalid: the encryption keys are not valid.
    """
    changes = RevocationEvents(connections.nats)
    if (keys := parse_keys(settings.encryption_keys)) is None:
        yield VaultParts(Vault(None, changes, audit), None)
        return
    vaults = RedisVaults(connections.redis, EncryptedRecords(connections.redis, keys))
    states = CachedStates(vaults, connections.nats.client)
    await subscribe(connections.nats, VaultChanged, states.on_changed)
    own = settings.build_repository, settings.cache_repository, settings.public_repository
    secrets = VaultSecrets(vaults, RedisSecretReferences(connections.redis, settings.record_ttl))

    async def find(wanted: FindSecret) -> FoundSecret:
        return FoundSecret(await secrets.find(wanted.name))

    async with receiving(connections.nats, SUBJECT, FindSecret, find):
        yield VaultParts(Vault(vaults, changes, audit), VaultUse(vaults, states, rules_of(own, ())), secrets)
