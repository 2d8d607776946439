"""Accounts that operators make by the API: a name, a password, and what its user may do."""

import hashlib
import re
import secrets
import unicodedata
from datetime import datetime

import msgspec
from msgspec import Struct

from gateway.domain.access.identity import Identity, Scope
from swell.errors import BadRequest
from swell.registry.credentials.principal import OPERATOR, PUBLIC

MAX_ACCOUNTS = 10_000
MIN_PASSWORD = 12  # characters
MAX_PASSWORD = 72  # bytes; bcrypt reads no more
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class Account(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An account in the store; `hash` is that of its password, by bcrypt. A `disabled` one opens nothing."""

    name: str
    hash: str
    created: datetime
    created_by: str
    scopes: frozenset[Scope]
    email: str = ""
    organisation: str = ""
    disabled: bool = False

    def mark(self) -> str:
        """A digest of all that the rights of the account rest on."""
        rights = (self.hash, sorted(self.scopes), self.organisation)
        return hashlib.sha256(msgspec.json.encode(rights)).hexdigest()

    def identity(self) -> Identity:
        return Identity(
            user=self.name,
            email=self.email,
            organisation=self.organisation,
            pulls_as=OPERATOR if Scope.OPERATOR_PULL in self.scopes else PUBLIC,
            pushes_as=OPERATOR if Scope.OPERATOR_PUSH in self.scopes else PUBLIC,
            scopes=self.scopes,
        )


def is_account_name(text: str) -> bool:
    """Whether *text* can be the name of an account in the store."""
    return _NAME.fullmatch(text) is not None


def new_password() -> str:
    """A password of 144 random bits."""
    return secrets.token_urlsafe(18)


def check_password(password: str, name: str) -> None:
    """Check a password that someone has chosen for the account *name*.

    Raises:
        BadRequest: it is too short or too long, has control characters, or is the name.
    """
    if len(password) < MIN_PASSWORD or len(password.encode("utf-8", "replace")) > MAX_PASSWORD:
        raise BadRequest(f"a password has at least {MIN_PASSWORD} characters, and at most {MAX_PASSWORD} bytes")
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in password):
        raise BadRequest("a password has no control characters")
    if password.casefold() == name.casefold():
        raise BadRequest("the password is the name of the account")
