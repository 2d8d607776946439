"""The secrets that a request names: those of the operator by their names, those of vaults as `vault:<path>`."""

from typing import Protocol

from msgspec.structs import replace

from gateway.access.secret_access import check_secrets
from gateway.access.vault import path_of
from gateway.domain.access.identity import Identity
from gateway.submit.request import BuildRequest
from gateway.submit.rules.options import VAULT
from swell.errors import NotSupported


class StoredSecrets(Protocol):
    async def name_of(self, identity: Identity, path: str) -> str:
        """Return the name in builds of a stored credential; raises `ScopeRequired`."""


class NoStoredSecrets:
    """A server without encryption keys."""

    async def name_of(self, *_: object) -> str:
        raise NotSupported("this server stores no credentials: its operator has to set SWELL_ENCRYPTION_KEYS")


NO_STORED_SECRETS = NoStoredSecrets()


async def with_secrets(request: BuildRequest, identity: Identity, stored: StoredSecrets) -> BuildRequest:
    """Return *request* with the names of its secrets as builds have them; usually *request* itself.

    Raises:
        BadRequest: a path is malformed.
        ScopeRequired: *identity* may not use one of them.
        NotSupported: this server stores no credentials.
    """
    if request.options is None or not request.options.build_secrets:
        return request
    wanted = request.options.build_secrets
    check_secrets((name for name in wanted.values() if not name.startswith(VAULT)), identity)
    names = {
        key: await stored.name_of(identity, path_of(name.removeprefix(VAULT))) if name.startswith(VAULT) else name
        for key, name in wanted.items()
    }
    return replace(request, options=replace(request.options, build_secrets=names))
