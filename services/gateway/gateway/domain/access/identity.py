"""The identity of a caller, and what it may do."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b

from msgspec import Struct

from swell.base_rules import BaseRules
from swell.errors import ScopeRequired
from swell.oci.reference import Reference
from swell.registry.credentials.principal import PUBLIC, Principal, is_below

SECRET_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"  # noqa: S105  (a pattern)
"""The name of a build secret; also its id in a container file."""


class Scope(StrEnum):
    """What an identity may do. Users may do the first five things, unless their key is limited to some of them."""

    BUILD = "build"
    PULL = "pull"
    """Request tokens for images that exist."""
    INSPECT = "inspect"
    MIRROR = "mirror"
    SCAN = "scan"
    KEYS = "keys"
    """Manage the keys and the stored credentials of its user."""
    ADMINISTER = "administer"
    """Everything that an operator's account may do."""
    OPERATOR_PULL = "operator-pull"
    """Read images with the operator's credentials."""
    OPERATOR_PUSH = "operator-push"
    """Push images with the operator's credentials."""


PUBLIC_SCOPES = frozenset({Scope.BUILD, Scope.PULL, Scope.INSPECT, Scope.MIRROR, Scope.SCAN})
"""The scopes of anonymous clients, and of keys that are not limited."""

USER_SCOPES = PUBLIC_SCOPES | {Scope.KEYS}
"""The scopes of a user who has signed in, or has a key from the operator that is not limited."""

OPERATORS_SCOPES = frozenset({Scope.ADMINISTER, Scope.OPERATOR_PULL, Scope.OPERATOR_PUSH})
"""The scopes that only an operator can give."""


class Identity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user of this server; an anonymous one has no name.

    - `user` is unique over all sources of identities. Operators choose the names in the keys file; another source
      begins each name with its own prefix and a colon, such as `oidc:…`, unless the operator gives it their names.
    - `email` and `groups` are only what the source has verified.
    - Images are read with the credentials of `pulls_as`, and pushed with those of `pushes_as`. `secrets` are the names
      of the operator's secrets that its builds may use.
    - `by_policy` are the registries and paths that the policy lets it read with the operator's credentials.
    - With `repositories` (`registry` or `registry/path`), requests may name only images below these.
    - `run` is the workspace of a Seqera Platform whose run sends the request, if it does.
    - `notification` is when the user wants e-mail, in the words of Seqera Platform, if the source says it.
    - `key_id` is the public id of the key or session, for the audit trail. After `expires` it opens nothing.
    """

    user: str = ""
    email: str = ""
    organisation: str = ""
    groups: tuple[str, ...] = ()
    pulls_as: Principal = PUBLIC
    pushes_as: Principal = PUBLIC
    secrets: frozenset[str] = frozenset()
    scopes: frozenset[Scope] = PUBLIC_SCOPES
    by_policy: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    key_id: str = ""
    run: str = ""
    notification: str = ""
    expires: datetime | None = None

    @property
    def is_anonymous(self) -> bool:
        return not self.user

    @property
    def is_operator(self) -> bool:
        return Scope.ADMINISTER in self.scopes

    def require(self, *scopes: Scope) -> None:
        """Check that the identity has all of *scopes*.

        Raises:
            ScopeRequired: one of them is missing.
        """
        for scope in scopes:
            if scope not in self.scopes:
                owner = "the operator" if scope in OPERATORS_SCOPES or not self.user else "its user, or the operator,"
                client = "this key" if self.user else "an anonymous client"
                raise ScopeRequired(f"{client} has not the scope {scope}; {owner} can issue a key with it")

    def check_images(self, images: Iterable[Reference]) -> None:
        """Check that requests may name *images*.

        Raises:
            ScopeRequired: one of them is not below `repositories`.
        """
        for image in images if self.repositories else ():
            if not is_below(image, self.repositories):
                raise ScopeRequired(
                    f"this key is limited to {', '.join(self.repositories)}, and {image} is not below them; its user, "
                    "or the operator, can issue a key for it"
                )


ANONYMOUS = Identity()


class Caller(Struct, frozen=True):
    """An identity, its client address, and the principals whose credentials read and push images for the request.

    All images that its builds read must follow `base_rules`.
    """

    identity: Identity
    address: str
    principal: Principal = PUBLIC
    push_principal: Principal = PUBLIC
    base_rules: BaseRules = BaseRules()


class Reader(Struct, frozen=True):
    """Who reads images, with the credentials of `principal`; `clients` are its names in records of builds."""

    principal: Principal
    clients: frozenset[str] = frozenset()


def reader_of(caller: Caller) -> Reader:
    """Return *caller* as a reader: its own builds, and those of its organisation, are its."""
    return Reader(caller.principal, frozenset({queue_of(caller), tenant_of(caller)}))


def caller_of(identity: Identity, address: str) -> Caller:
    """Return the caller *identity* at *address*, with the principals of its identity."""
    return Caller(identity, address, identity.pulls_as, identity.pushes_as)


def tenant_of(caller: Caller) -> str:
    """The name of those who share what builders store: a hash of the organisation of *caller*, else as `queue_of`."""
    organisation = caller.identity.organisation
    return _hashed(f"organisation:{organisation}") if organisation else queue_of(caller)


def queue_of(caller: Caller) -> str:
    """The name of the queue of *caller*'s builds: a hash of the user, or of the address of an anonymous one."""
    user = caller.identity.user
    return _hashed(f"user:{user}" if user else f"address:{caller.address}")


def _hashed(name: str) -> str:
    return blake2b(name.encode(), digest_size=10).hexdigest()
