"""Credentials for one build. Source: containers-auth.json(5)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from swell.oci.reference import DOCKER_HUB, Reference, parse_reference
from swell.registry.credentials import Credentials, parse_basic, path_of
from swell.registry.principal import OPERATOR, CredentialRules, Principal, scopes_of

_HUB = ("index.docker.io", "https://index.docker.io/v1/")


def entries_of(auth_file: bytes) -> dict[str, tuple[str, Credentials]]:
    """The entries of *auth_file* that hold a user and a password, each with its registry.

    Raises:
        msgspec.MsgspecError: it is no auth file.
    """
    auths = msgspec.json.decode(auth_file, type=_AuthFile).auths
    found = {key: (_registry(key), _credentials(entry.auth)) for key, entry in auths.items()}
    return {key: (registry, credentials) for key, (registry, credentials) in found.items() if credentials}


def with_entries(auth_file: bytes, changed: Mapping[str, Credentials | None]) -> bytes:
    """*auth_file* with other credentials in the entries that are *changed*, or without these entries."""
    known = msgspec.json.decode(auth_file, type=dict[str, Any])
    kept = {key: entry for key, entry in known.get("auths", {}).items() if key not in changed}
    made = {key: {"auth": credentials.encoded} for key, credentials in changed.items() if credentials}
    return msgspec.json.encode(known | {"auths": kept | made})


def may_be_named(registry: str, text: str) -> bool:
    """Whether *text* may name *registry*: all parts of its name are there, be it that variables join them.

    Docker Hub is what is meant where none is named.
    """
    return registry == DOCKER_HUB or all(part in text.lower() for part in re.split("[.:]", registry))


def only_named(auth_file: bytes, text: str) -> bytes:
    """*auth_file* without the entries for registries that *text* cannot mean.

    Raises:
        msgspec.MsgspecError: it is no auth file.
    """
    known = msgspec.json.decode(auth_file, type=dict[str, Any])
    auths = known.get("auths", {}).items()
    return msgspec.json.encode({"auths": {key: entry for key, entry in auths if may_be_named(_registry(key), text)}})


def only_allowed(auth_file: bytes, rules: CredentialRules, principal: Principal, images: Iterable[Reference]) -> bytes:
    """*auth_file* with what *principal* may use for pulls, and with what opens the repositories of *images*.

    An entry stays whole if all that it opens is shared, or named by the principal; else it is narrowed to *images*.

    Raises:
        msgspec.MsgspecError: it is no auth file.
    """
    if principal == OPERATOR:
        return auth_file
    auths = msgspec.json.decode(auth_file, type=dict[str, Any]).get("auths", {})
    scopes = (*rules.shared, *scopes_of(principal))
    whole = {key: entry for key, entry in auths.items() if _is_whole(path_of(key), scopes, rules.own)}
    named = {image.name: _entry(auths, _scopes(image.name)) for image in images}
    return msgspec.json.encode({"auths": whole | {name: entry for name, entry in named.items() if entry is not None}})


def is_known(auth_file: bytes, image: Reference) -> bool:
    """Whether *auth_file* has an entry for *image*.

    Raises:
        msgspec.MsgspecError: it is no auth file.
    """
    auths = msgspec.json.decode(auth_file, type=dict[str, Any]).get("auths", {})
    return _entry(auths, _scopes(image.name)) is not None


def _is_whole(path: str, scopes: Iterable[str], own: Iterable[str]) -> bool:
    overlaps = any(f"{each}/".startswith(f"{path}/") or f"{path}/".startswith(f"{each}/") for each in own)
    return not overlaps and any(f"{path}/".startswith(f"{scope}/") for scope in scopes)


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


class _Entry(msgspec.Struct):
    auth: str = ""


class _AuthFile(msgspec.Struct):
    auths: dict[str, _Entry] = {}


def _registry(key: str) -> str:
    return path_of(key).partition("/")[0]


def _credentials(auth: str) -> Credentials | None:
    try:
        return parse_basic(auth)
    except ValueError:
        return None


def _entry(auths: dict[str, Any], scopes: list[str]) -> Any:
    return next((auths[scope] for scope in scopes if scope in auths), None)


def _scopes(repository: str) -> list[str]:
    """What may stand for *repository* in an auth file, the narrowest first."""
    reference = parse_reference(repository)
    parts = reference.name.split("/")
    scopes = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return [*scopes, *_HUB] if reference.registry == DOCKER_HUB else scopes
