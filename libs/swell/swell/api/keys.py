"""The messages of `/v1alpha2/keys`: API keys that users and operators issue."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

ScopeName = Literal[
    "build", "pull", "inspect", "mirror", "scan", "keys", "administer", "operator-pull", "operator-push"
]
Repository = Annotated[str, Meta(pattern=r"^[a-z0-9.:/\[\]_-]+$", max_length=255)]
Repositories = Annotated[tuple[Repository, ...], Meta(max_length=8)]
Scopes = Annotated[tuple[ScopeName, ...], Meta(max_length=20)]
Title = Annotated[str, Meta(max_length=100)]


class KeyRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """`POST /v1alpha2/keys`: the limits of a new key.

    Only operators may set `user`, `email`, `organisation` and `secrets`, and the scopes `administer`, `operator-pull`
    and `operator-push`.
    """

    name: Title = ""
    user: str | None = None
    email: str | None = None
    organisation: str | None = None
    scopes: Scopes | None = None
    repositories: Repositories = ()
    secrets: Annotated[tuple[str, ...], Meta(max_length=100)] = ()
    expires: datetime | None = None


class KeyChange(Struct, frozen=True, kw_only=True, rename="camel"):
    """`PATCH /v1alpha2/keys/{keyId}`: the limits to replace; the others stay."""

    name: Title | None = None
    scopes: Scopes | None = None
    repositories: Repositories | None = None
    expires: datetime | None = None


class KeyRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An issued key, without the key itself. `created_by` is a user or an operator's account."""

    id: str
    user: str
    name: str = ""
    email: str = ""
    organisation: str = ""
    scopes: tuple[ScopeName, ...]
    repositories: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    created: datetime
    created_by: str
    expires: datetime | None = None


class IssuedKeyAnswer(KeyRecord, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The response to a `KeyRequest`, with the `key` itself, which is not stored and not shown again."""

    key: str


class KeyPage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`GET /v1alpha2/keys`: keys, newest first; `next` is the cursor of the next page."""

    keys: tuple[KeyRecord, ...]
    next: str | None = None
