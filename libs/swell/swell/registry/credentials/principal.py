"""Credential principals: which credentials a request to a registry may use.

A principal is `public`, or its parts in a fixed order, separated by `;`: `operator` or `operator:<scope>,<scope>` for
the operator's credentials, and `<kind>:<owner>,<owner>` for those that users and organisations have stored. Equal
rights give equal text.

The principal is part of the key of every cache, lock and shared transfer whose content depends on the credentials. See
`docs/decisions/0003-credential-principals.md` for the rules and their reasons.
"""

from collections.abc import Iterable
from typing import NewType
from urllib.parse import quote, unquote

from msgspec import Struct

from swell.oci.reference import DOCKER_HUB, Reference, parse_registry

Principal = NewType("Principal", str)
"""An unknown kind of part opens nothing. Records of older versions have no principal."""

PUBLIC = Principal("public")
"""No credentials: only public images."""

OPERATOR = Principal("operator")
"""The operator's credentials, for every repository."""

_OPERATOR = "operator"


def limited_to(scopes: Iterable[str], principal: Principal = PUBLIC) -> Principal:
    """Return *principal* with the operator's credentials for *scopes* in addition: `registry` or `registry/path`."""
    if opens_everything(principal) or not (added := set(scopes)):
        return principal
    parts = _parts(principal)
    return _principal(parts | {_OPERATOR: added.union(parts.get(_OPERATOR, ()))})


def with_owners(kind: str, owners: Iterable[str], principal: Principal = PUBLIC) -> Principal:
    """Return *principal* with the credentials that *owners* have stored in addition.

    *kind* says where they are stored, such as `vault`. An owner is any text, such as `user:ada`.
    """
    parts = _parts(principal)
    added = {quote(owner, safe=":/@+") for owner in owners}
    return _principal(parts | {kind: added.union(parts.get(kind, ()))}) if added else principal


def owners_of(kind: str, principal: Principal) -> tuple[str, ...]:
    """Return the owners whose stored credentials *principal* may use, in the order of their names."""
    return tuple(sorted(unquote(owner) for owner in _parts(principal).get(kind, ())))


def has_owners(principal: Principal) -> bool:
    """Return whether *principal* names owners of stored credentials."""
    return ";" in principal or not (principal == PUBLIC or principal.startswith(OPERATOR))


def opens(principal: Principal, reference: Reference) -> bool:
    """Return whether the principal may use the operator's credentials for *reference*."""
    return opens_everything(principal) or is_below(reference, scopes_of(principal))


def opens_everything(principal: Principal) -> bool:
    """Return whether the principal may use the operator's credentials for every repository."""
    return principal == OPERATOR or principal.startswith(f"{OPERATOR};")


class CredentialRules(Struct, frozen=True):
    """Which principals may use the operator's credentials for which repositories.

    `own` are the repositories that this server pushes to. Only a principal with their scope may read them, even when
    `shared` contains them. `shared` are registries or paths that every client may read.
    """

    own: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    def is_own(self, reference: Reference) -> bool:
        return is_below(reference, self.own)

    def may_read(self, principal: Principal, reference: Reference) -> bool:
        if opens(principal, reference):
            return True
        return is_below(reference, self.shared) and not self.is_own(reference)

    def may_push(self, principal: Principal, reference: Reference) -> bool:
        return self.is_own(reference) or opens(principal, reference)


def parse_scope(text: str) -> str:
    """Parse `registry` or `registry/path`; the default registry is Docker Hub.

    Raises:
        BadRequest: the registry is malformed.
    """
    first, slash, path = text.strip().rstrip("/").partition("/")
    if slash and not (first == "localhost" or "." in first or ":" in first):
        return f"{DOCKER_HUB}/{first}/{path}"
    return parse_registry(first.lower()) + slash + path


def rules_of(own: Iterable[str | None], shared: Iterable[str]) -> CredentialRules:
    """Return the rules for these settings; unset repositories are ignored."""
    return CredentialRules(
        tuple(parse_scope(each) for each in own if each), tuple(sorted(parse_scope(each) for each in shared if each))
    )


def scopes_of(principal: Principal) -> tuple[str, ...]:
    """Return the scopes for which *principal* may use the operator's credentials, if they are limited."""
    return tuple(sorted(_parts(principal).get(_OPERATOR, ())))


def _parts(principal: Principal) -> dict[str, set[str]]:
    """The values of each kind; none for `public`, and for the operator's credentials if they are not limited."""
    parts = (part.partition(":") for part in principal.split(";"))
    return {kind: set(values.split(",")) if values else set() for kind, _, values in parts if kind != PUBLIC}


def _principal(parts: dict[str, set[str]]) -> Principal:
    kinds = sorted(parts, key=lambda kind: (kind != _OPERATOR, kind))
    return Principal(";".join(kind + ":" * bool(parts[kind]) + ",".join(sorted(parts[kind])) for kind in kinds))


def is_below(reference: Reference, scopes: Iterable[str]) -> bool:
    """Return whether *reference* is in one of *scopes*: `registry` or `registry/path`."""
    return any(f"{reference.name}/".startswith(f"{scope}/") for scope in scopes)
