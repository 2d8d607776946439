"""Issue, list, limit and revoke API keys: operators for all users, users for themselves.

A user gives a key no more than what the user's own request may do: not more scopes, repositories or time.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.audit.events import NO_AUDIT, Action, Audit
from gateway.domain.access.api_key import IssuedKey, id_of, new_key
from gateway.domain.access.identity import (
    OPERATORS_SCOPES,
    PUBLIC_SCOPES,
    SECRET_NAME,
    Identity,
    Scope,
)
from swell.api.keys import KeyChange, KeyRequest
from swell.errors import BadRequest, NotFound, ScopeRequired, Unavailable
from swell.log import log
from swell.registry.credentials.principal import parse_scope

MAX_KEYS = 100  # of one user
DEFAULT_PAGE, MAX_PAGE = 20, 100
_NAME = re.compile(r"\S{1,200}")
_MAX_TEXT = 254  # characters of an e-mail address or an organisation
_CURSOR = re.compile(r"\d{20}:[0-9a-f]{32}")


class Actor(Struct, frozen=True):
    """Who manages keys: an operator, or the user of *identity*."""

    name: str
    identity: Identity | None = None

    @property
    def is_operator(self) -> bool:
        return self.identity is None or self.identity.is_operator


class Stored(Protocol):
    async def add(self, key: IssuedKey, limit: int) -> bool:
        """Store a new key; False if its user has *limit* keys already."""

    async def get(self, key_id: str) -> IssuedKey | None: ...

    async def replace(self, key: IssuedKey) -> bool:
        """Store *key* with other limits; False if it does not exist any more."""

    async def remove(self, key: IssuedKey) -> bool:
        """Delete *key*; returns whether it existed."""

    async def begin_ending(self, user: str) -> None:
        """Refuse new keys of *user* for some seconds."""

    async def page(self, user: str | None, before: str | None, limit: int) -> tuple[Sequence[IssuedKey], str | None]:
        """Keys of *user*, or of all users, newest first, and the cursor of the next page."""


class Events(Protocol):
    async def key_changed(self, key_id: str, *, revoked: bool) -> None:
        """Publish to all gateways that a key was changed or revoked; raises `Unavailable`."""


class KeyIssuer:
    def __init__(
        self,
        stored: Stored,
        events: Events,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        audit: Audit = NO_AUDIT,
    ) -> None:
        self._audit = audit
        self._stored = stored
        self._events = events
        self._now = now

    async def issue(self, actor: Actor, request: KeyRequest) -> tuple[IssuedKey, str]:
        """Make a key, and return its record and the key itself, which is not stored.

        Raises:
            BadRequest: a member is not valid, or the user has 100 keys already.
            ScopeRequired: *actor* may not give a key these limits.
            Unavailable: the keys of the user are being revoked, or the store does not answer.
        """
        text = new_key()
        owner = self._owner(actor, request)
        key = IssuedKey(
            id=id_of(text),
            user=owner.user,
            email=owner.email,
            organisation=owner.organisation,
            name=request.name,
            scopes=_scopes(actor, request.scopes),
            repositories=_repositories(request.repositories),
            secrets=_secrets(actor, request.secrets),
            created=self._now(),
            created_by=actor.name,
            expires=self._end(actor, request.expires),
        )
        check_limits(actor, key)
        if not await self._stored.add(key, MAX_KEYS):
            raise BadRequest(f"{key.user} has {MAX_KEYS} keys, which is the limit: revoke one that is not used")
        self._audit.record(Action.KEY_ISSUED, user=key.user, actor=actor.name, subject=key.id)
        log.info("API key issued", key_id=key.id, user=key.user, by=actor.name)
        return key, text

    async def list(
        self, actor: Actor, user: str | None, cursor: str | None, limit: int | None
    ) -> tuple[Sequence[IssuedKey], str | None]:
        """At most *limit* keys (1 to 100, default 20) after *cursor*, newest first, and the next cursor.

        Users get their own keys; operators those of *user*, or of all users.

        Raises:
            BadRequest: a parameter is malformed.
            ScopeRequired: *actor* may not list these keys.
        """
        size = DEFAULT_PAGE if limit is None else limit
        if not 1 <= size <= MAX_PAGE:
            raise BadRequest(f"limit can be 1 to {MAX_PAGE}")
        if cursor is not None and not _CURSOR.fullmatch(cursor):
            raise BadRequest("cursor is not one that a page had as its next")
        if not actor.is_operator:
            self._check_own(actor, user)
            user = actor.name
        return await self._stored.page(user, cursor, size)

    async def get(self, actor: Actor, key_id: str) -> IssuedKey:
        """The key *key_id*; raises `NotFound` for keys of others, too."""
        key = await self._stored.get(key_id)
        if key is None or not (actor.is_operator or key.user == actor.name):
            raise NotFound(f"no key {key_id[:40]}")
        self._check_own(actor, None)
        return key

    async def change(self, actor: Actor, key_id: str, change: KeyChange) -> IssuedKey:
        """Replace limits of the key *key_id*; all gateways apply them within a second.

        Raises:
            BadRequest: a member is not valid.
            NotFound: the key does not exist, or is another user's.
            ScopeRequired: *actor* may not give a key these limits.
        """
        key = await self.get(actor, key_id)
        changed = replace(
            key,
            name=key.name if change.name is None else change.name,
            scopes=key.scopes if change.scopes is None else _scopes(actor, change.scopes),
            repositories=key.repositories if change.repositories is None else _repositories(change.repositories),
            expires=self._end(actor, change.expires) if change.expires else key.expires,
        )
        check_limits(actor, changed)
        if not await self._stored.replace(changed):
            raise NotFound(f"no key {key_id[:40]}")
        await self._publish(key_id, revoked=False)
        self._audit.record(Action.KEY_CHANGED, user=key.user, actor=actor.name, subject=key_id)
        log.info("API key changed", key_id=key_id, user=key.user, by=actor.name)
        return changed

    async def revoke(self, actor: Actor, key_id: str) -> IssuedKey:
        """Revoke the key *key_id*; every gateway refuses it within a second.

        Raises:
            NotFound: the key does not exist, or is another user's.
        """
        key = await self.get(actor, key_id)
        if not await self._stored.remove(key):
            raise NotFound(f"no key {key_id[:40]}")
        await self._publish(key_id, revoked=True)
        self._audit.record(Action.KEY_REVOKED, user=key.user, actor=actor.name, subject=key_id)
        log.info("API key revoked", key_id=key_id, user=key.user, by=actor.name)
        return key

    async def revoke_beyond(self, actor: Actor, user: str, scopes: frozenset[Scope], organisation: str) -> int:
        """Revoke the keys of *user* that may do more than *scopes*, or have another *organisation*.

        Returns their number. Keys that others have made for the user stay, unless *scopes* is empty.
        """
        await self._stored.begin_ending(user)
        keys, _ = await self._stored.page(user, None, MAX_KEYS)

        def is_beyond(key: IssuedKey) -> bool:
            return bool(key.scopes - scopes) or key.organisation not in {"", organisation}

        beyond = [key for key in keys if not scopes or (key.created_by == user and is_beyond(key))]
        for key in beyond:
            if await self._stored.remove(key):
                await self._publish(key.id, revoked=True)
                self._audit.record(Action.KEY_REVOKED, user=key.user, actor=actor.name, subject=key.id)
        return len(beyond)

    def _owner(self, actor: Actor, request: KeyRequest) -> Identity:
        """The user of a new key: the actor itself, or whom an operator names."""
        if not actor.is_operator:
            self._check_own(actor, request.user)
            if request.email is not None or request.organisation is not None:
                raise ScopeRequired("only an operator may set the e-mail address or the organisation of a key")
            return actor.identity or Identity()
        known = actor.identity or Identity()
        user = request.user or known.user
        if not _NAME.fullmatch(user):
            raise BadRequest("user is required: a name of 1 to 200 characters without blanks")
        own = known if user == known.user else Identity()
        email = own.email if request.email is None else request.email
        organisation = own.organisation if request.organisation is None else request.organisation
        if max(len(email), len(organisation)) > _MAX_TEXT:
            raise BadRequest(f"email and organisation have at most {_MAX_TEXT} characters")
        return Identity(user=user, email=email, organisation=organisation)

    @staticmethod
    def _check_own(actor: Actor, user: str | None) -> None:
        """Check that a user may manage keys, and names no other user."""
        if actor.is_operator or actor.identity is None:
            return
        actor.identity.require(Scope.KEYS)
        if user not in {None, actor.name}:
            raise ScopeRequired("only an operator may manage the keys of other users")

    def _end(self, actor: Actor, expires: datetime | None) -> datetime | None:
        """When a key ends: never later than what it is made with."""
        if expires is not None:
            try:
                expires = expires.replace(tzinfo=UTC) if expires.tzinfo is None else expires.astimezone(UTC)
            except OverflowError as error:
                raise BadRequest("expires is beyond the calendar") from error
            if expires <= self._now():
                raise BadRequest("expires is in the past")
        return expires or (actor.identity.expires if actor.identity else None)

    async def _publish(self, key_id: str, *, revoked: bool) -> None:
        try:
            await self._events.key_changed(key_id, revoked=revoked)
        except Unavailable as error:  # the gateways read their cached keys again within some seconds
            log.warning("change of a key not published", error=str(error))


def check_limits(actor: Actor, key: IssuedKey) -> None:
    """Check that *actor* gives *key* no more than it may do itself.

    Raises:
        ScopeRequired: the message says what exceeds it.
    """
    identity = actor.identity
    if actor.is_operator or identity is None:
        return
    if refused := sorted(key.scopes & OPERATORS_SCOPES):
        raise ScopeRequired(f"only an operator may issue a key with the scope {refused[0]}")
    if key.secrets:
        raise ScopeRequired("only an operator may change a key that may use secrets")
    if (key.organisation, key.email) not in {(identity.organisation, identity.email), ("", "")}:
        raise ScopeRequired("only an operator may change a key with another organisation or e-mail address")
    if refused := sorted(key.scopes - identity.scopes):
        raise ScopeRequired(f"a key cannot have the scope {refused[0]}, which this request does not have")
    if identity.repositories:
        wanted = key.repositories or ("every repository",)
        if beyond := [each for each in wanted if not _is_below(each, identity.repositories)]:
            raise ScopeRequired(f"a key cannot open {beyond[0]}: this request is limited to other repositories")
    if identity.expires and (key.expires is None or key.expires > identity.expires):
        raise ScopeRequired("a key cannot live longer than the key that it is made with")


def _is_below(repository: str, limits: Iterable[str]) -> bool:
    return any(f"{repository}/".startswith(f"{limit}/") for limit in limits)


def _scopes(actor: Actor, names: Iterable[str] | None) -> frozenset[Scope]:
    """The scopes *names*; by default those of anonymous clients that the actor has, too."""
    if names is not None:
        if not (scopes := frozenset(map(Scope, names))):
            raise BadRequest("scopes is empty: a key needs at least one")
        return scopes
    return PUBLIC_SCOPES if actor.identity is None else PUBLIC_SCOPES & actor.identity.scopes


def _repositories(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({parse_scope(name) for name in names}))


def _secrets(actor: Actor, names: Iterable[str]) -> tuple[str, ...]:
    secrets = tuple(sorted(set(names)))
    if secrets and not actor.is_operator:
        raise ScopeRequired("only an operator may give a key the use of secrets")
    if wrong := next((name for name in secrets if not re.fullmatch(SECRET_NAME, name)), None):
        raise BadRequest(f"{wrong[:80]!r} cannot be the name of a secret")
    return secrets
