"""Auth files: selecting the entries that one build may use.

Source: containers-auth.json(5), https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from swell.oci.reference import DOCKER_HUB, Reference, parse_reference
from swell.registry.credentials.keyring import Credentials, parse_basic, path_of
from swell.registry.credentials.principal import CredentialRules, Principal, scopes_of

_HUB = ("index.docker.io", "https://index.docker.io/v1/")


def entries_of(auth_file: bytes) -> dict[str, tuple[str, Credentials]]:
    """Return the entries of *auth_file* with a user and a password: key -> registry, credentials.

    Raises:
        msgspec.MsgspecError: it is not an auth file.
    """
    auths = msgspec.json.decode(auth_file, type=_AuthFile).auths
    found = {key: (_registry(key), _credentials(entry.auth)) for key, entry in auths.items()}
    return {key: (registry, credentials) for key, (registry, credentials) in found.items() if credentials}


def with_entries(auth_file: bytes, changed: Mapping[str, Credentials | None]) -> bytes:
    """Return *auth_file* with the entries in *changed* replaced, or removed where the credentials are None."""
    known = msgspec.json.decode(auth_file, type=dict[str, Any])
    unchanged = {key: entry for key, entry in known.get("auths", {}).items() if key not in changed}
    replaced = {key: {"auth": credentials.encoded} for key, credentials in changed.items() if credentials}
    return msgspec.json.encode(known | {"auths": unchanged | replaced})


def may_be_named(registry: str, text: str) -> bool:
    """Whether *text* may name *registry*: it contains all parts of the name, which variables may join.

    Docker Hub is always possible: it is the default registry.
    """
    return registry == DOCKER_HUB or all(part in text.lower() for part in re.split("[.:]", registry))


def only_named(auth_file: bytes, text: str) -> bytes:
    """Return *auth_file* without the entries for registries that *text* cannot name.

    Raises:
        msgspec.MsgspecError: it is not an auth file.
    """
    known = msgspec.json.decode(auth_file, type=dict[str, Any])
    auths = known.get("auths", {}).items()
    return msgspec.json.encode({"auths": {key: entry for key, entry in auths if may_be_named(_registry(key), text)}})


def only_allowed(auth_file: bytes, rules: CredentialRules, principal: Principal, images: Iterable[Reference]) -> bytes:
    """Return the entries of *auth_file* that *principal* may use for pulls, and those for the repositories of *images*.

    An entry is unchanged if its whole scope is shared or allowed to the principal; otherwise it is limited to *images*.
    The operator gets those of *images* and the shared ones too: an ONBUILD of a base image may name any other image.

    Raises:
        msgspec.MsgspecError: it is not an auth file.
    """
    auths = msgspec.json.decode(auth_file, type=dict[str, Any]).get("auths", {})
    scopes = (*rules.shared, *scopes_of(principal))
    unchanged = {key: entry for key, entry in auths.items() if _is_whole(path_of(key), scopes, rules.own)}
    named = {image.name: _entry(auths, _scopes(image.name)) for image in images}
    return msgspec.json.encode(
        {"auths": unchanged | {name: entry for name, entry in named.items() if entry is not None}}
    )


def is_known(auth_file: bytes, image: Reference) -> bool:
    """Whether *auth_file* has an entry for *image*.

    Raises:
        msgspec.MsgspecError: it is not an auth file.
    """
    auths = msgspec.json.decode(auth_file, type=dict[str, Any]).get("auths", {})
    return _entry(auths, _scopes(image.name)) is not None


def _is_whole(path: str, scopes: Iterable[str], own: Iterable[str]) -> bool:
    overlaps = any(f"{each}/".startswith(f"{path}/") or f"{path}/".startswith(f"{each}/") for each in own)
    return not overlaps and any(f"{path}/".startswith(f"{scope}/") for scope in scopes)


def with_repository(pulls: bytes, pushes: bytes, repository: str) -> bytes:
    """Return the auth file *pulls* with the entry of *pushes* for *repository*, limited to that repository.

    Raises:
        msgspec.MsgspecError: one of them is not an auth file.
    """
    known = msgspec.json.decode(pulls, type=dict[str, Any])
    entry = _entry(msgspec.json.decode(pushes, type=dict[str, Any]).get("auths", {}), _scopes(repository))
    if entry is None:
        return pulls
    return msgspec.json.encode(known | {"auths": {**known.get("auths", {}), _scopes(repository)[0]: entry}})


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
    """Return the keys that match *repository* in an auth file, the most specific first."""
    reference = parse_reference(repository)
    parts = reference.name.split("/")
    scopes = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return [*scopes, *_HUB] if reference.registry == DOCKER_HUB else scopes
