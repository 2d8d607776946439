"""Build secrets from vaults: credentials whose owner lets builds read them.

Builds and jobs have only a name: a hash of the owner and the path of the credential, which every engine accepts. So two
users who name the same path get different builds.
"""

from hashlib import blake2b
from typing import Protocol

from msgspec import Struct

from gateway.domain.access.identity import Identity
from gateway.domain.access.vault import VaultState, owners_of_identity
from swell.errors import NotFound, ScopeRequired
from swell.jobs.build_secrets import PREFIX
from swell.registry.credentials.keyring import Credentials


class SecretReference(Struct, frozen=True):
    """The credential of *owner* for *path* in a vault."""

    owner: str
    path: str

    @property
    def name(self) -> str:
        digest = blake2b(f"{self.owner}\n{self.path}".encode(), digest_size=16).hexdigest()
        return f"{PREFIX}{digest}"


class References(Protocol):
    async def put(self, reference: SecretReference) -> None: ...

    async def get(self, name: str) -> SecretReference | None: ...


class Vaults(Protocol):
    async def state(self, owner: str) -> VaultState: ...

    async def credentials(self, owner: str, path: str) -> Credentials | None: ...


class VaultSecrets:
    def __init__(self, vaults: Vaults, references: References) -> None:
        self._vaults = vaults
        self._references = references

    async def name_of(self, identity: Identity, path: str) -> str:
        """Return the name in builds of the credential for *path*, of the user of *identity* or the organisation.

        Raises:
            ScopeRequired: none is stored, or its owner does not let builds read it.
            Unavailable: the store does not answer.
        """
        for owner in owners_of_identity(identity):
            entry = (await self._vaults.state(owner)).entries.get(path)
            if entry and entry.is_build_secret:
                reference = SecretReference(owner, path)
                await self._references.put(reference)
                return reference.name
        raise ScopeRequired(
            f"builds of this client may not use the secret vault:{path}: store a credential for {path} with "
            "`buildSecret`; for an organisation, the operator stores it"
        )

    async def find(self, name: str) -> str:
        """Return the password of the credential *name*.

        Raises:
            NotFound: it was deleted, or its owner does not let builds read it any more.
            DecryptionFailed: its encryption key is missing.
            Unavailable: the store does not answer.
        """
        if reference := await self._references.get(name):
            entry = (await self._vaults.state(reference.owner)).entries.get(reference.path)
            found = await self._vaults.credentials(reference.owner, reference.path) if entry else None
            if entry and entry.is_build_secret and found:
                return found.password
        raise NotFound("a stored credential that the build names in buildSecrets does not exist any more")
