"""Who asks."""

from msgspec import Struct


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
