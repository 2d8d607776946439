"""The parts that identify clients, connected: the keys file, issued keys, OpenID issuers, and accounts."""

from collections.abc import Sequence
from typing import NamedTuple

from gateway.access.accounts.accounts import Accounts
from gateway.access.accounts.manage_accounts import AccountManager
from gateway.access.authenticator import Authenticator, IdentitySources, PlatformUsers
from gateway.access.keys import KeyIssuer
from gateway.access.vault import VaultUse
from gateway.adapters.access.accounts import read_accounts
from gateway.adapters.access.api_keys import ApiKeys
from gateway.adapters.access.issued_keys import IssuedKeys, RedisKeys
from gateway.adapters.access.sessions import RedisSessions
from gateway.adapters.access.stored_accounts import RedisAccounts
from gateway.adapters.builds.events import RevocationEvents
from gateway.adapters.oidc.provider import Provider
from gateway.adapters.oidc.sign_in import SignIn
from gateway.adapters.oidc.tokens import OidcTokens
from gateway.connections import Connections
from gateway.http.caller import Callers
from gateway.http.sessions import Sessions
from gateway.parts.shared import Shared
from gateway.settings import Settings
from swell.jobs.consume import subscribe
from swell.jobs.messages import KeyChanged


class IdentityParts(NamedTuple):
    callers: Callers
    accounts: Accounts
    account_manager: AccountManager
    key_issuer: KeyIssuer
    sessions: Sessions
    sign_in: SignIn


async def open_identity_parts(
    settings: Settings,
    connections: Connections,
    shared: Shared,
    platform_users: PlatformUsers,
    providers: Sequence[Provider],
    vault: VaultUse | None,
) -> IdentityParts:
    """Connect the parts, and subscribe to changes of keys. *platform_users* are the users of Seqera Platforms."""
    stored_keys = RedisKeys(connections.redis)
    issued_keys = IssuedKeys(stored_keys)
    await subscribe(connections.nats, KeyChanged, issued_keys.on_changed)
    identities = IdentitySources(
        issued_keys, ApiKeys(settings.api_keys_file), OidcTokens(providers, settings.server_url.rstrip("/"))
    )
    authenticator = Authenticator(identities, anonymous_access=settings.anonymous_access, platform_users=platform_users)
    stored_sessions, server_url = RedisSessions(connections.redis), settings.server_url.rstrip("/")
    stored_accounts = RedisAccounts(connections.redis)
    accounts = read_accounts(settings.accounts_file, stored_accounts)
    sessions = Sessions(
        stored_sessions, settings.session_ttl, accounts, tls=server_url.startswith("https://"), audit=shared.audit
    )
    client = next((provider for provider in providers if provider.issuer.client_id), None)
    key_issuer = KeyIssuer(stored_keys, RevocationEvents(connections.nats), audit=shared.audit)
    return IdentityParts(
        Callers(
            authenticator,
            shared.client_address,
            shared.guess_limiter,
            shared.policies,
            sessions,
            sessions.refusals,
            vault.equip if vault else None,
        ),
        accounts,
        AccountManager(stored_accounts, accounts, key_issuer, sessions, shared.guess_limiter, audit=shared.audit),
        key_issuer,
        sessions,
        SignIn(client, stored_sessions, server_url),
    )
