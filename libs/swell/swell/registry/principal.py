"""Credential principals: whose credentials may be used for a request to a registry.

Caches, locks and shared transfers whose content depends on what a registry shows are keyed by the principal too.
`docs/decisions/0003-credential-principals.md` has the rules and their reasons.
"""

from collections.abc import Iterable
from typing import NewType

from msgspec import Struct

from swell.oci.reference import DOCKER_HUB, Reference, parse_registry

Principal = NewType("Principal", str)
"""An open type: other kinds (`vault:…`) may follow. Records without one were written before there were principals."""

PUBLIC = Principal("public")
"""Anybody: only what anybody may read."""

OPERATOR = Principal("operator")
"""The operator's credentials, for whatever they open."""

_LIMITED = "operator:"


def limited_to(scopes: Iterable[str], principal: Principal = PUBLIC) -> Principal:
    """*principal*, who may also use the operator's credentials for *scopes*: `registry` or `registry/path`."""
    if principal == OPERATOR or not (added := set(scopes)):
        return principal
    return Principal(_LIMITED + ",".join(sorted(added.union(scopes_of(principal)))))


def opens(principal: Principal, reference: Reference) -> bool:
    """Whether the principal itself allows the operator's credentials for *reference*."""
    return principal == OPERATOR or _is_in(reference, scopes_of(principal))


class CredentialRules(Struct, frozen=True):
    """For which repositories the operator's credentials may be used, and by which principals.

    `own` are the repositories that this server pushes to: what is in them is read only by a principal that opens them,
    whatever `shared` says. `shared` are registries or paths that the operator lists as readable by all.
    """

    own: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    def is_own(self, reference: Reference) -> bool:
        return _is_in(reference, self.own)

    def may_read(self, principal: Principal, reference: Reference) -> bool:
        if opens(principal, reference):
            return True
        return _is_in(reference, self.shared) and not self.is_own(reference)

    def may_push(self, principal: Principal, reference: Reference) -> bool:
        return self.is_own(reference) or opens(principal, reference)


def parse_scope(text: str) -> str:
    """Read `registry` or `registry/path`; Docker Hub is meant where no registry is named.

    Raises:
        BadRequest: the registry cannot be read.
    """
    first, slash, path = text.strip().rstrip("/").partition("/")
    if slash and not (first == "localhost" or "." in first or ":" in first):
        return f"{DOCKER_HUB}/{first}/{path}"
    return parse_registry(first.lower()) + slash + path


def rules_of(own: Iterable[str | None], shared: Iterable[str]) -> CredentialRules:
    """The rules for these settings; repositories that are not set are left out."""
    return CredentialRules(
        tuple(parse_scope(each) for each in own if each), tuple(sorted(parse_scope(each) for each in shared if each))
    )


def scopes_of(principal: Principal) -> tuple[str, ...]:
    """What *principal* may use the operator's credentials for, if that is limited."""
    return tuple(principal.removeprefix(_LIMITED).split(",")) if principal.startswith(_LIMITED) else ()


def _is_in(reference: Reference, scopes: Iterable[str]) -> bool:
    return any(f"{reference.name}/".startswith(f"{scope}/") for scope in scopes)
