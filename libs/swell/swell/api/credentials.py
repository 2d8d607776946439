"""The messages of `/v1alpha2/credentials`: credentials for registries that users and organisations store."""

from datetime import datetime

from msgspec import Struct


class StoreRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """`PUT /v1alpha2/credentials/{registry}`: `user_name` has at most 500, `password` at most 16,384 characters.

    With `build_secret`, builds of the owner may read the password.
    """

    user_name: str
    password: str
    build_secret: bool = False

    def __repr__(self) -> str:
        return f"StoreRequest({self.user_name!r}, ...)"


class StoredCredential(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A stored credential, without its password; it belongs to `user` or to `organisation`."""

    registry: str
    user_name: str
    stored: datetime
    stored_by: str
    build_secret: bool = False
    user: str = ""
    organisation: str = ""


class StoredCredentials(Struct, frozen=True):
    """The stored credentials of a user, and of the user's organisation."""

    credentials: tuple[StoredCredential, ...] = ()
