"""The parts of the gateway for Seqera Platforms, opened and wired."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import NamedTuple

from yarl import URL

from gateway.access.vault import VaultUse
from gateway.adapters.platform.direct import DirectTransport
from gateway.adapters.platform.routing import RetryingTransport, RoutedTransport, Sockets
from gateway.connections import Connections
from gateway.domain.platform import Platforms, parse_platforms
from gateway.platform.client import PlatformClient
from gateway.platform.credentials import WorkspaceCredentials
from gateway.platform.identities import PlatformIdentities
from gateway.platform.pairings import Pairings
from gateway.platform.sessions import Sessions
from gateway.platform.workspaces import Workspaces
from gateway.settings import Settings
from swell.encryption import KEY_BYTES, EncryptionKeys, parse_keys
from swell.jobs.calls import receiving
from swell.jobs.user_credentials import SUBJECT, FindCredentials, FoundCredentials
from swell.net.outbound import Policy, name_with_port, open_session
from swell.oci.reference import Reference
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import Principal, rules_of
from swell.registry.credentials.user_credentials import UserCredentials
from swell.settings import SettingsInvalid
from swell.store import keys
from swell.store.encrypted import EncryptedRecords
from swell.store.leases import Leases

LOCK_TERM, LOCK_TIME_LIMIT = timedelta(seconds=20), timedelta(seconds=10)


class PlatformParts(NamedTuple):
    """`users` has the credentials of workspaces, as this gateway itself needs them."""

    platforms: Platforms
    pairings: Pairings
    sockets: Sockets
    identities: PlatformIdentities
    client: PlatformClient
    workspaces: Workspaces
    users: UserCredentials


@asynccontextmanager
async def open_platforms(
    settings: Settings, connections: Connections, vault: VaultUse | None = None
) -> AsyncIterator[PlatformParts]:
    """Yield the parts for the Platforms that the operator has named.

    While the block runs, this gateway finds the credentials of workspaces, and of *vault*, for all services.

    Raises:
        SettingsInvalid: the file of Platforms is invalid, or there are no encryption keys.
    """
    platforms = read_platforms(settings)
    hosts = frozenset(name_with_port(URL(each.endpoint)) for each in platforms if each.direct)
    async with open_session(Policy(hosts), settings) as session:
        records = EncryptedRecords(connections.redis, encryption_keys(settings, platforms))
        leases = Leases(connections.redis, LOCK_TERM)

        async def lock(name: str) -> AbstractAsyncContextManager[None] | None:
            return await leases.take(keys.platform_lock(name), LOCK_TIME_LIMIT)

        sessions, pairings = Sessions(records, lock), Pairings(records, lock, settings.platform_lease)
        sockets = Sockets(connections.nats)
        direct = DirectTransport(session, settings.platform_timeout)
        routed = RoutedTransport(connections.nats, sockets, pairings, settings.platform_timeout, direct)
        client = PlatformClient(RetryingTransport(routed), sessions)
        workspaces = Workspaces(records, platforms, sessions)
        own = settings.build_repository, settings.cache_repository, settings.public_repository
        credentials = WorkspaceCredentials(workspaces, client, pairings, rules_of(own, ()))

        async def find_for(principal: Principal, image: Reference) -> Credentials | None:
            stored = await vault.find(principal, image) if vault else None
            return stored or await credentials.find(principal, image)

        async def find(wanted: FindCredentials) -> FoundCredentials:
            return FoundCredentials(await find_for(wanted.principal, Reference(wanted.registry, wanted.repository)))

        async with receiving(connections.nats, SUBJECT, FindCredentials, find):
            identities = PlatformIdentities(platforms, client, sessions, workspaces)
            users = UserCredentials(find_for)
            yield PlatformParts(platforms, pairings, sockets, identities, client, workspaces, users)


def encryption_keys(settings: Settings, platforms: Platforms) -> EncryptionKeys:
    """Return the keys for the tokens of users; without Platforms, a key that is never used.

    Raises:
        SettingsInvalid: there are Platforms and no keys.
    """
    if found := parse_keys(settings.encryption_keys):
        return found
    if platforms:
        raise SettingsInvalid("SWELL_PLATFORMS_FILE needs SWELL_ENCRYPTION_KEYS, which encrypt the tokens of its users")
    return EncryptionKeys({"none": secrets.token_bytes(KEY_BYTES)})


def read_platforms(settings: Settings) -> Platforms:
    """Read the file of Platforms.

    Raises:
        SettingsInvalid: it cannot be read.
    """
    if settings.platforms_file is None:
        return Platforms()
    try:
        content = settings.platforms_file.read_bytes()
    except OSError as error:
        raise SettingsInvalid(f"SWELL_PLATFORMS_FILE cannot be read: {error.strerror}") from error
    return parse_platforms(content)
