"""Passwords of the embedded backends: made once, kept in the home; and the auth files that carry some of them."""

import os
import secrets
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from swell_embedded.errors import CannotStart

USER = "swell"


def _random() -> str:
    return secrets.token_hex(16)


class Secrets(Struct, frozen=True, kw_only=True):
    """Every password of a home, each 128 random bits as hex."""

    nats_password: str = field(default_factory=_random)
    redis_password: str = field(default_factory=_random)
    s3_access_key: str = field(default_factory=_random)
    s3_secret_key: str = field(default_factory=_random)
    registry_password: str = field(default_factory=_random)
    registry_upload_key: str = field(default_factory=_random)
    link_key: str = field(default_factory=_random)


def load(home: Path) -> Secrets:
    """Read `secrets.json` of *home*; what is missing there is made and kept.

    Raises:
        CannotStart: the file is damaged.
    """
    path = home / "secrets.json"
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Secrets) if path.exists() else Secrets()
    except msgspec.MsgspecError as error:
        raise CannotStart(f"{path} is damaged ({error}); mend it, or remove {home} to begin anew") from error
    write_private(path, msgspec.json.format(msgspec.json.encode(kept)))
    return kept


def write_private(path: Path, content: bytes) -> Path:
    """Write *content* where only this user can read it, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
    return path


def auth_file(scope: str, password: str) -> dict[str, Any]:
    """Credentials for *scope*, a registry or `registry/path`. Source: containers-auth.json(5)."""
    return {"auths": {scope: {"auth": b64encode(f"{USER}:{password}".encode()).decode()}}}


def merged(ours: Mapping[str, Any], operators: str | None) -> bytes:
    """*ours* and the auth file at the path *operators*, which wins where both know a scope.

    Raises:
        CannotStart: that file cannot be read.
    """
    try:
        theirs = msgspec.json.decode(Path(operators).read_bytes(), type=dict[str, Any]) if operators else {}
    except (OSError, msgspec.MsgspecError) as error:
        raise CannotStart(f"SWELL_REGISTRY_AUTH_FILE: {operators} cannot be read: {error}") from error
    return msgspec.json.encode({**theirs, "auths": {**ours.get("auths", {}), **theirs.get("auths", {})}})
