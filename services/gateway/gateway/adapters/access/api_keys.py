"""API keys, which the operator issues: a TOML file with the hash of each key.

The file has one table `[[key]]` per key; `python -m gateway.keys new` prints one. It is read again when it changes.
"""

import hashlib
import secrets
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway.domain.access.identity import OPERATORS_SCOPES, SECRET_NAME, USER_SCOPES, Identity, Scope
from swell.errors import BadRequest
from swell.log import log
from swell.registry.credentials.principal import OPERATOR, PUBLIC, limited_to, parse_scope
from swell.settings import SettingsInvalid

SecretName = Annotated[str, Meta(pattern=rf"^{SECRET_NAME}\Z")]
Name = Annotated[str, Meta(pattern=r"^\S+$", max_length=200)]
Repository = Annotated[str, Meta(pattern=r"^[a-z0-9.:/\[\]_-]+$", max_length=255)]


class ApiKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The identity of the key whose SHA-256 is `hash`, in lower-case hex.

    `scopes` are what the key may do. Without one of `build`, `pull`, `inspect`, `mirror`, `scan` and `keys` it may do
    all six. `operator-pull` and `operator-push` allow uses of the operator's credentials for registries; with
    `repositories` (`registry` or `registry/path`, at most 8) only for these. `secrets` are the names of the secrets
    that builds of this key may use (at most 100).
    """

    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    user: Name
    email: str = ""
    organisation: str = ""
    scopes: tuple[Scope, ...] = ()
    repositories: Annotated[tuple[Repository, ...], Meta(max_length=8)] = ()
    secrets: Annotated[tuple[SecretName, ...], Meta(max_length=100)] = ()


class KeyFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file: a table `[[key]]` per key."""

    key: tuple[ApiKey, ...] = ()


class ApiKeys:
    """The identities in the file at *path*; without a file there are no keys.

    A key has 256 random bits, so a hash without salt is safe to store. The lookup by hash is not constant-time: its
    duration may reveal part of a hash, which is useless to an attacker, and nothing about a key.

    Raises:
        SettingsInvalid: the file cannot be read.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._version = version_of(path)
        self._identities = _read(path) if path else {}

    async def identify(self, token: str, endpoint: str | None) -> Identity | None:  # noqa: ARG002  keys are local
        """The identity of the key *token*; None if it is not in the file."""
        self._read_changes()
        return self._identities.get(hash_of(token))

    def _read_changes(self) -> None:
        """Read the file again if it has changed; an invalid file is logged, and the previous keys stay valid."""
        version = version_of(self._path)
        if self._path is None or version == self._version:
            return
        self._version = version
        try:
            self._identities = _read(self._path)
            log.info("API keys read again", count=len(self._identities))
        except SettingsInvalid as error:
            log.error("API keys not read again", error=str(error))


def new_key() -> str:
    """A key of 256 random bits; its prefix lets secret scanners recognise a leaked key."""
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
        principal = limited_to(map(parse_scope, key.repositories)) if key.repositories else OPERATOR
    except BadRequest as error:
        raise SettingsInvalid(f"the API key of {key.user}: {error}") from error
    return Identity(
        user=key.user,
        email=key.email,
        organisation=key.organisation,
        pulls_as=principal if Scope.OPERATOR_PULL in key.scopes else PUBLIC,
        pushes_as=principal if Scope.OPERATOR_PUSH in key.scopes else PUBLIC,
        secrets=frozenset(key.secrets),
        scopes=OPERATORS_SCOPES.intersection(key.scopes) | (USER_SCOPES.intersection(key.scopes) or USER_SCOPES),
        key_id=f"file-{key.hash[:16]}",
    )


def version_of(path: Path | None) -> tuple[int, int, int] | None:
    """Inode, modification time and size of the file; None without a file."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status else None
