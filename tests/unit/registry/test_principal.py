"""The rules of credential principals: which repositories the operator's credentials open, and to whom."""

import pytest

from swell.oci.reference import parse_reference
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import (
    OPERATOR,
    PUBLIC,
    Principal,
    limited_to,
    opens,
    parse_scope,
    rules_of,
)

RULES = rules_of(["r.example:5000/swell/build", "acme/community", None], ["r.example:5000", "quay.io/open"])
TEAM = limited_to(["quay.io/team"])
OWN = limited_to(["r.example:5000/swell/build"])


@pytest.mark.parametrize(
    ("principal", "image", "readable"),
    [
        (PUBLIC, "r.example:5000/library/base:1", True),
        (PUBLIC, "quay.io/open/tool", True),
        (PUBLIC, "quay.io/opened/tool", False),
        (PUBLIC, "quay.io/team/tool", False),
        (PUBLIC, "r.example:5000/swell/build:made", False),
        (PUBLIC, "r.example:5000/swell/build/nested:made", False),
        (PUBLIC, "r.example:5000/swell/builds:made", True),
        (PUBLIC, "docker.io/acme/community:1", False),
        (TEAM, "quay.io/team/tool", True),
        (TEAM, "quay.io/team2/tool", False),
        (TEAM, "r.example:5000/swell/build:made", False),
        (OWN, "r.example:5000/swell/build:made", True),
        (OPERATOR, "quay.io/team/tool", True),
        (OPERATOR, "r.example:5000/swell/build:made", True),
    ],
)
def test_who_may_read_with_the_operators_credentials(principal: Principal, image: str, readable: bool) -> None:
    """A shared registry is read for all clients, but not the repositories of builds within it."""
    assert RULES.may_read(principal, parse_reference(image)) is readable


@pytest.mark.parametrize(
    ("principal", "repository", "pushed"),
    [
        (PUBLIC, "r.example:5000/swell/build", True),
        (PUBLIC, "docker.io/acme/community", True),
        (PUBLIC, "r.example:5000/library/base", False),
        (PUBLIC, "quay.io/open/tool", False),
        (TEAM, "quay.io/team/tool", True),
        (OPERATOR, "ghcr.io/anything/else", True),
    ],
)
def test_who_may_push_with_the_operators_credentials(principal: Principal, repository: str, pushed: bool) -> None:
    """To the server's own repositories, all clients; that a registry is shared is for reading only."""
    assert RULES.may_push(principal, parse_reference(repository)) is pushed


def test_a_limited_principal_can_be_given_more() -> None:
    """A token for a built image opens the repository of builds beside what its caller may read."""
    both = limited_to(["r.example/builds"], limited_to(["quay.io/team"]))

    assert both == limited_to(["quay.io/team", "r.example/builds"])
    assert opens(both, parse_reference("quay.io/team/a")) and opens(both, parse_reference("r.example/builds:x"))
    assert limited_to(["r.example/builds"], OPERATOR) == OPERATOR
    assert limited_to([], PUBLIC) == PUBLIC


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("Quay.IO", "quay.io"),
        ("quay.io/team/", "quay.io/team"),
        ("index.docker.io/acme", "docker.io/acme"),
        ("acme/tools", "docker.io/acme/tools"),
        ("localhost/a", "localhost/a"),
    ],
)
def test_a_scope_is_read_as_references_are(text: str, scope: str) -> None:
    """Otherwise a rule would hold for a name that no reference has."""
    assert parse_scope(text) == scope


def test_a_principal_of_another_kind_opens_nothing() -> None:
    """Later versions have more kinds; this one must not guess."""
    assert not opens(Principal("vault:team"), parse_reference("quay.io/team/tool"))


def test_a_keyring_without_rules_is_the_operators_alone() -> None:
    """Without rules, only the operator has access."""
    keyring = Keyring({"quay.io": Credentials("me", "secret")})

    assert keyring.find(parse_reference("quay.io/team/tool")) is None
    assert keyring.find(parse_reference("quay.io/team/tool"), OPERATOR)
