"""Who asks."""

from hashlib import blake2b

from msgspec import Struct

from swell.registry.principal import PUBLIC, Principal


class Identity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`user` is one name for one person or machine, among all who can come in; nobody in particular has none.

    `pulls_as` is whose credentials read images for it, `pushes_as` whose credentials push.
    """

    user: str = ""
    email: str = ""
    organisation: str = ""
    pulls_as: Principal = PUBLIC
    pushes_as: Principal = PUBLIC

    @property
    def is_anonymous(self) -> bool:
        return not self.user


ANONYMOUS = Identity()


class Caller(Struct, frozen=True):
    """Who asks, and from which address; whose credentials read images for the request, and whose push."""

    identity: Identity
    address: str
    principal: Principal = PUBLIC
    push_principal: Principal = PUBLIC


def caller_of(identity: Identity, address: str) -> Caller:
    """*identity* at *address*, with the credentials that it may use."""
    return Caller(identity, address, identity.pulls_as, identity.pushes_as)


def line_of(caller: Caller) -> str:
    """The name of the line in which *caller*'s builds wait: one for each user, or address; it shows neither."""
    user = caller.identity.user
    return blake2b(
        f"user:{user}".encode() if user else f"address:{caller.address}".encode(), digest_size=10
    ).hexdigest()
