"""The identity of a caller."""

from hashlib import blake2b

from msgspec import Struct

from swell.registry.principal import PUBLIC, Principal

SECRET_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"  # noqa: S105  (a pattern)
"""The name of a build secret; also its id in a container file."""


class Identity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user of this server; an anonymous one has no name.

    Images are read with the credentials of `pulls_as`, and pushed with those of `pushes_as`. `secrets` are the names
    of the operator's secrets that its builds may use.
    """

    user: str = ""
    email: str = ""
    organisation: str = ""
    pulls_as: Principal = PUBLIC
    pushes_as: Principal = PUBLIC
    secrets: frozenset[str] = frozenset()

    @property
    def is_anonymous(self) -> bool:
        return not self.user


ANONYMOUS = Identity()


class Caller(Struct, frozen=True):
    """An identity, its client address, and the principals whose credentials read and push images for the request."""

    identity: Identity
    address: str
    principal: Principal = PUBLIC
    push_principal: Principal = PUBLIC


def caller_of(identity: Identity, address: str) -> Caller:
    """Return the caller *identity* at *address*, with the principals of its identity."""
    return Caller(identity, address, identity.pulls_as, identity.pushes_as)


def queue_of(caller: Caller) -> str:
    """The name of the queue of *caller*'s builds: a hash of the user, or of the address of an anonymous one."""
    user = caller.identity.user
    return blake2b(
        f"user:{user}".encode() if user else f"address:{caller.address}".encode(), digest_size=10
    ).hexdigest()
