"""The messages of `/v1alpha2/accounts`: users and operators who have a name and a password."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from swell.api.keys import ScopeName, Scopes

AccountName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}\Z")]
"""Without a colon: names of Platforms and issuers have one, and a header of RFC 7617 cannot carry it."""
Password = Annotated[str, Meta(max_length=100)]
Line = Annotated[str, Meta(max_length=254)]


class AccountRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """`POST /v1alpha2/accounts`: a new account. Without a `password`, the server chooses one."""

    name: AccountName
    password: Password | None = None
    email: Line = ""
    organisation: Line = ""
    scopes: Scopes | None = None


class AccountChange(Struct, frozen=True, kw_only=True, rename="camel"):
    """`PATCH /v1alpha2/accounts/{name}`: what to replace; the rest stays.

    Users may only set a `password`, and need their current one.
    """

    password: Password | None = None
    current_password: Password | None = None
    email: Line | None = None
    organisation: Line | None = None
    scopes: Scopes | None = None
    disabled: bool | None = None


class AccountRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An account. `created_by` is the operator who has made it."""

    name: str
    email: str = ""
    organisation: str = ""
    scopes: tuple[ScopeName, ...]
    created: datetime
    created_by: str
    disabled: bool = False


class NewAccount(AccountRecord, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The response to an `AccountRequest`; with the `password`, if the server has chosen it."""

    password: str = ""


class AccountPage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`GET /v1alpha2/accounts`: accounts by name; `next` is the cursor of the next page."""

    accounts: tuple[AccountRecord, ...]
    next: str | None = None
