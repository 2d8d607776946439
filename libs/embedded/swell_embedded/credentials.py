"""The passwords of the embedded backends, generated once and stored in the home folder, and their auth files."""

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


def _encryption_key() -> str:
    return f"made-by-swell:{b64encode(secrets.token_bytes(32)).decode()}"


class Secrets(Struct, frozen=True, kw_only=True):
    """The passwords of one home folder, each 128 random bits as hex, and the key of stored secrets."""

    nats_password: str = field(default_factory=_random)
    redis_password: str = field(default_factory=_random)
    s3_access_key: str = field(default_factory=_random)
    s3_secret_key: str = field(default_factory=_random)
    registry_password: str = field(default_factory=_random)
    registry_upload_key: str = field(default_factory=_random)
    link_key: str = field(default_factory=_random)
    encryption_key: str = field(default_factory=_encryption_key)


def load(home: Path) -> Secrets:
    """Read `secrets.json` in *home*; generate and store missing passwords.

    Raises:
        CannotStart: the file is damaged.
    """
    path = home / "secrets.json"
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=Secrets) if path.exists() else Secrets()
    except msgspec.MsgspecError as error:
        raise CannotStart(f"{path} is damaged ({error}): repair it, or remove {home} with all data") from error
    write_private(path, msgspec.json.format(msgspec.json.encode(stored)))
    return stored


def write_private(path: Path, content: bytes) -> Path:
    """Write *content* atomically to a file that only this user can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
    return path


def auth_file(scope: str, password: str) -> dict[str, Any]:
    """Return credentials for *scope*, a registry or `registry/path`.

    Source: containers-auth.json(5), https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
    """
    return {"auths": {scope: {"auth": b64encode(f"{USER}:{password}".encode()).decode()}}}


def merged(embedded: Mapping[str, Any], path: str | None) -> bytes:
    """Merge *embedded* with the operator's auth file at *path*, which has priority for a scope that both have.

    Raises:
        CannotStart: the file cannot be read.
    """
    try:
        operators = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, Any]) if path else {}
    except (OSError, msgspec.MsgspecError) as error:
        raise CannotStart(f"SWELL_REGISTRY_AUTH_FILE: {path} cannot be read: {error}") from error
    return msgspec.json.encode({**operators, "auths": {**embedded.get("auths", {}), **operators.get("auths", {})}})
