"""API keys: given out by the operator, kept as hashes in a file.

A file holds one `[[key]]` for each, in TOML; `python -m gateway.keys new` makes them. It is read again when it changes.
"""

import hashlib
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway.domain.identity import ANONYMOUS, Identity
from swell.errors import BadRequest, Unauthorized
from swell.log import log
from swell.registry.principal import OPERATOR, PUBLIC, limited_to, parse_scope
from swell.settings import SettingsInvalid


class Scope(StrEnum):
    PULL = "operator-pull"
    PUSH = "operator-push"


Name = Annotated[str, Meta(pattern=r"^\S+$", max_length=200)]
Repository = Annotated[str, Meta(pattern=r"^[a-z0-9.:/\[\]_-]+$", max_length=255)]


class ApiKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who has the key whose SHA-256 is `hash`, in lower-case hex.

    `scopes` say what the operator's credentials for registries may be used for: to read images, to push. Where there
    are `repositories` (`registry` or `registry/path`), for these only.
    """

    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    user: Name
    email: str = ""
    organisation: str = ""
    scopes: tuple[Scope, ...] = ()
    repositories: Annotated[tuple[Repository, ...], Meta(max_length=8)] = ()


class KeyFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a file; `key` is spelt as TOML's `[[key]]`."""

    key: tuple[ApiKey, ...] = ()


class ApiKeys:
    """The identities in the file at *path*; without one, nobody has a key.

    Keys have 256 random bits, so a plain hash keeps them. They are looked up by it: how long that takes could tell
    something about a hash that nobody can aim at, and nothing about a key.

    Raises:
        SettingsInvalid: the file cannot be read.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = _stamp(path)
        self._known = _read(path) if path else {}

    async def of(self, token: str | None, endpoint: str | None) -> Identity:  # noqa: ARG002  keys are ours alone
        if not token:
            return ANONYMOUS
        self._read_changes()
        if (identity := self._known.get(hash_of(token))) is None:
            raise Unauthorized("the access token is not known here")
        return identity

    def _read_changes(self) -> None:
        """Take up a file that has changed; while it makes no sense, what was known holds."""
        stamp = _stamp(self._path)
        if self._path is None or stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._known = _read(self._path)
            log.info("API keys read again", count=len(self._known))
        except SettingsInvalid as error:
            log.error("API keys not read again", error=str(error))


def new_key() -> str:
    """256 random bits; the prefix lets a leaked one be recognised."""
    return f"swell_{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def _read(path: Path) -> dict[str, Identity]:
    try:
        keys = msgspec.toml.decode(path.read_bytes(), type=KeyFile).key
    except (OSError, ValueError) as error:
        raise SettingsInvalid(f"the API keys in {path} cannot be read: {error}") from error
    return {key.hash: _identity(key) for key in keys}


def _identity(key: ApiKey) -> Identity:
    try:
        opened = limited_to(map(parse_scope, key.repositories)) if key.repositories else OPERATOR
    except BadRequest as error:
        raise SettingsInvalid(f"the API key of {key.user}: {error}") from error
    return Identity(
        user=key.user,
        email=key.email,
        organisation=key.organisation,
        pulls_as=opened if Scope.PULL in key.scopes else PUBLIC,
        pushes_as=opened if Scope.PUSH in key.scopes else PUBLIC,
    )


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size) if found else None
