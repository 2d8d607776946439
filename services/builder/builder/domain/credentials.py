"""Credentials for one build. Source: containers-auth.json(5)."""

from typing import Any

import msgspec

from swell.oci.reference import DOCKER_HUB, parse_reference

_HUB = ("index.docker.io", "https://index.docker.io/v1/")


def with_repository(pulls: bytes, pushes: bytes, repository: str) -> bytes:
    """The auth file *pulls*, and of the auth file *pushes* what is for *repository*, for that alone.

    Raises:
        msgspec.MsgspecError: one of them is no auth file.
    """
    known = msgspec.json.decode(pulls, type=dict[str, Any])
    lent = _entry(msgspec.json.decode(pushes, type=dict[str, Any]).get("auths", {}), _scopes(repository))
    if lent is None:
        return pulls
    return msgspec.json.encode(known | {"auths": {**known.get("auths", {}), _scopes(repository)[0]: lent}})


def _entry(auths: dict[str, Any], scopes: list[str]) -> Any:
    return next((auths[scope] for scope in scopes if scope in auths), None)


def _scopes(repository: str) -> list[str]:
    """What may stand for *repository* in an auth file, the narrowest first."""
    reference = parse_reference(repository)
    parts = reference.name.split("/")
    scopes = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return [*scopes, *_HUB] if reference.registry == DOCKER_HUB else scopes
