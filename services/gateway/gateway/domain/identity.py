"""Who asks."""

from hashlib import blake2b

from msgspec import Struct

from swell.registry.principal import PUBLIC, Principal


class Identity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`user` is one name for one person or machine, among all who can come in; nobody in particular has none."""

    user: str = ""
    email: str = ""
    organisation: str = ""

    @property
    def is_anonymous(self) -> bool:
        return not self.user


ANONYMOUS = Identity()


class Caller(Struct, frozen=True):
    """Who asks, and from which address."""

    identity: Identity
    address: str

    @property
    def principal(self) -> Principal:
        """Whose credentials may read images for the caller."""
        return PUBLIC


def line_of(caller: Caller) -> str:
    """The name of the line in which *caller*'s builds wait: one for each user, or address; it shows neither."""
    user = caller.identity.user
    return blake2b(
        f"user:{user}".encode() if user else f"address:{caller.address}".encode(), digest_size=10
    ).hexdigest()
