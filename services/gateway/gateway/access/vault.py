"""Who may store credentials in which vault; which vaults a request may use."""

from datetime import UTC, datetime
from typing import Protocol

from msgspec.structs import replace

from gateway.access.keys import Actor
from gateway.audit.events import NO_AUDIT, Action, Audit
from gateway.domain.access.identity import Identity, Scope
from gateway.domain.access.vault import (
    KIND,
    MOST_ENTRIES,
    Entry,
    VaultState,
    named,
    organisation_owner,
    owners_of_identity,
    parts_of,
    user_owner,
    vaults_of,
)
from swell.errors import BadRequest, Denied, NotFound, NotSupported, ScopeRequired, Unavailable
from swell.log import log
from swell.oci.reference import Reference
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import CredentialRules, Principal, parse_scope, with_owners

MAX_PATH = 255  # characters

Checked = tuple[tuple[str, VaultState], ...]
"""The vaults that allow a pull: their owners, and their states."""


class StoredVaults(Protocol):
    async def put(self, owner: str, path: str, entry: Entry, credentials: Credentials, limit: int) -> VaultState | None:
        """Store an entry; None if the vault has *limit* others."""

    async def delete(self, owner: str, path: str) -> VaultState | None:
        """Delete an entry; None if it does not exist."""

    async def state(self, owner: str) -> VaultState: ...

    async def credentials(self, owner: str, path: str) -> Credentials | None: ...


class States(Protocol):
    async def get(self, owner: str) -> VaultState:
        """The state of a vault, at most some seconds old, and as it is after the event of a change."""

    def fresh(self, owner: str) -> VaultState | None:
        """What `get` returns without a call, if there is something."""

    def is_fresh(self, owner: str, state: VaultState) -> bool:
        """Whether *state* is what `get` returns without a call."""


class Changes(Protocol):
    async def vault_changed(self, owner: str) -> None:
        """Publish that the vault of *owner* has changed; raises `Unavailable`."""


class Vault:
    """Stores, lists and deletes credentials. *stored* is None if there are no encryption keys."""

    def __init__(self, stored: StoredVaults | None, changes: Changes, audit: Audit = NO_AUDIT) -> None:
        self._audit = audit
        self._stored = stored
        self._changes = changes

    async def put(
        self, actor: Actor, owner: str, path: str, credentials: Credentials, *, build_secret: bool = False
    ) -> Entry:
        """Store *credentials*, which the registry accepts, for *path*: a registry, or a path below it.

        With *build_secret*, builds of the owner may read the password.

        Raises:
            BadRequest: the vault has 50 other entries.
            NotSupported: this server has no encryption keys.
        """
        entry = Entry(
            user_name=credentials.user,
            stored=datetime.now(UTC),
            stored_by=actor.name,
            is_build_secret=build_secret,
        )
        is_new = path not in await self.list(owner)
        if await self._open().put(owner, path, entry, credentials, MOST_ENTRIES) is None:
            raise BadRequest(f"at most {MOST_ENTRIES} credentials can be stored: delete others first")
        log.info("credential stored", owner=owner, registry=path, by=actor.name)
        self._record(Action.CREDENTIAL_STORED if is_new else Action.CREDENTIAL_CHANGED, actor, owner, path)
        await self._publish(owner)
        return entry

    async def delete(self, actor: Actor, owner: str, path: str) -> None:
        """Delete a credential; within a second, nothing uses it, and what was requested with it is refused.

        Raises:
            NotFound: it does not exist.
        """
        if await self._open().delete(owner, path) is None:
            raise NotFound(f"no credential is stored for {path}")
        log.info("credential deleted", owner=owner, registry=path, by=actor.name)
        self._record(Action.CREDENTIAL_REMOVED, actor, owner, path)
        await self._publish(owner)

    async def list(self, owner: str) -> dict[str, Entry]:
        """The entries of *owner* by their paths, without passwords."""
        return (await self._open().state(owner)).entries

    def check_possible(self) -> None:
        """Raise `NotSupported` if nothing can be stored here."""
        self._open()

    def _open(self) -> StoredVaults:
        if self._stored is None:
            raise NotSupported("this server stores no credentials: its operator has to set SWELL_ENCRYPTION_KEYS")
        return self._stored

    def _record(self, action: Action, actor: Actor, owner: str, path: str) -> None:
        user, organisation = parts_of(owner)
        self._audit.record(action, user=user, organisation=organisation, actor=actor.name, subject=path)

    async def _publish(self, owner: str) -> None:
        try:
            await self._changes.vault_changed(owner)
        except Unavailable as error:
            log.warning("change of a vault not published", owner=owner, error=str(error))


class VaultUse:
    """The vaults that requests use. *rules* name the repositories of this server, which no vault opens."""

    def __init__(self, stored: StoredVaults, states: States, rules: CredentialRules) -> None:
        self._stored = stored
        self._states = states
        self._rules = rules

    async def equip(self, identity: Identity) -> Identity:
        """Return *identity* with the credentials of its vaults; without them while the store does not answer."""
        owners = []
        for owner in owners_of_identity(identity):
            try:
                state = await self._states.get(owner)
            except Unavailable as error:
                log.warning("vault not used", error=str(error))
                continue
            if state.entries:
                owners.append(named(owner, state))
        if not owners:
            return identity
        pulls_as, pushes_as = (with_owners(KIND, owners, each) for each in (identity.pulls_as, identity.pushes_as))
        return replace(identity, pulls_as=pulls_as, pushes_as=pushes_as)

    async def find(self, principal: Principal, image: Reference) -> Credentials | None:
        """Return the stored credentials of the owners in *principal* for *image*, the most specific of the first owner.

        Raises:
            Denied: one was deleted since *principal* got its rights.
            DecryptionFailed: the encryption key is missing.
            Unavailable: the store does not answer.
        """
        if self._rules.is_own(image):
            return None
        for owner, generation in vaults_of(principal):
            state = await self._stored.state(owner)
            if state.is_withdrawn(image, generation):
                raise withdrawn(image)
            if (path := state.path_for(image)) and (found := await self._stored.credentials(owner, path)):
                return found
        return None

    async def check(self, principal: Principal, image: Reference) -> None:
        """Check that no credential for *image* was deleted since *principal* got its rights; usually without I/O.

        Raises:
            Denied: one was.
        """
        if f"{KIND}:" in principal and not self._rules.is_own(image):
            for owner, generation in vaults_of(principal):
                if (await self._states.get(owner)).is_withdrawn(image, generation):
                    raise withdrawn(image)

    def checked(self, principal: Principal, image: Reference) -> Checked | None:
        """What `check` has read for *principal* and *image*; None if it would wait, or raise `Denied`. No I/O."""
        if f"{KIND}:" not in principal or self._rules.is_own(image):
            return ()
        checked = []
        for owner, generation in vaults_of(principal):
            state = self._states.fresh(owner)
            if state is None or state.is_withdrawn(image, generation):
                return None
            checked.append((owner, state))
        return tuple(checked)

    def still_holds(self, checked: Checked) -> bool:
        """Whether the vaults in *checked* have not changed. No I/O."""
        for owner, state in checked:  # noqa: SIM110  `all` takes three times as long
            if not self._states.is_fresh(owner, state):
                return False
        return True


def withdrawn(image: Reference) -> Denied:
    return Denied(f"the credential for {image.registry} with which {image} was requested is deleted: request it again")


def owner_for(actor: Actor, user: str | None, organisation: str | None) -> str:
    """The owner of the vault that *actor* manages: by default the own user.

    Raises:
        BadRequest: both are named, or neither by an operator's account.
        ScopeRequired: another user, or an organisation, is for operators; the own user needs the scope `keys`.
    """
    if user and organisation:
        raise BadRequest("name a user or an organisation, not both")
    own = actor.identity.user if actor.identity else None
    if organisation or (user and user != own):
        if not actor.is_operator:
            raise ScopeRequired("the credentials of an organisation, and of other users, are managed by operators")
        return organisation_owner(organisation) if organisation else user_owner(user or "")
    if own is None:
        raise BadRequest("name the user or the organisation: ?user= or ?org=")
    if actor.identity and not actor.is_operator:
        actor.identity.require(Scope.KEYS)
    return user_owner(own)


def path_of(registry: str) -> str:
    """The `registry` or `registry/path` in *registry*, as a client has written it.

    Raises:
        BadRequest: it is malformed.
    """
    text = registry.strip("/")
    if not 0 < len(text) <= MAX_PATH or "@" in text or "//" in text:
        raise BadRequest("the path names no registry, or a path below one")
    return parse_scope(text.lower())
