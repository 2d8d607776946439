"""Which credentials a build with a cache is lent."""

import json
from typing import Any

import pytest

from builder.domain.credentials import entries_of, may_be_named, only_allowed, only_named, with_entries, with_repository
from swell.oci.reference import parse_reference
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import OPERATOR, PUBLIC, Principal, limited_to, rules_of

PULLS = {"localhost:9500/library": {"auth": "reader"}}


@pytest.mark.parametrize(
    ("pushes", "repository", "lent"),
    [
        (
            {"localhost:9500": {"auth": "w"}},
            "localhost:9500/swell/cache",
            {"localhost:9500/swell/cache": {"auth": "w"}},
        ),
        ({"quay.io/a": {"auth": "a"}, "quay.io": {"auth": "q"}}, "quay.io/a/b", {"quay.io/a/b": {"auth": "a"}}),
        ({"quay.io/ab": {"auth": "x"}}, "quay.io/a/cache", {}),
        ({"quay.io:8443": {"auth": "x"}}, "quay.io/cache", {}),
        ({"https://index.docker.io/v1/": {"auth": "h"}}, "acme/cache", {"docker.io/acme/cache": {"auth": "h"}}),
        ({}, "quay.io/a/cache", {}),
    ],
)
def test_the_cache_is_opened_and_nothing_else_of_its_registry(
    pushes: dict[str, Any], repository: str, lent: dict[str, Any]
) -> None:
    """With those for the whole registry, a FROM line could read what was built for others."""
    made = with_repository(json.dumps({"auths": PULLS}).encode(), json.dumps({"auths": pushes}).encode(), repository)
    assert json.loads(made)["auths"] == PULLS | lent


def test_what_else_an_auth_file_has_stays() -> None:
    """Helpers are for pulls as before."""
    pulls = {"auths": {}, "credHelpers": {"gcr.io": "gcloud"}}
    made = with_repository(json.dumps(pulls).encode(), b'{"auths": {"quay.io": {"auth": "x"}}}', "quay.io/c/d")
    assert json.loads(made) == pulls | {"auths": {"quay.io/c/d": {"auth": "x"}}}


ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("text", "may_be"),
    [
        (f"FROM {ECR}/tool:1", True),
        (f"FROM ubuntu\nCOPY --from={ECR}/tool:1 / /", True),
        ("ARG ACCOUNT=123456789012\nFROM ${ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/tool", True),
        (f"FROM {ECR.replace('eu-west-1', 'us-east-2')}/tool:1", False),
        (f"FROM {ECR.replace('123456789012', '210987654321')}/tool:1", False),
        ("FROM quay.io/team/tool", False),
    ],
)
def test_a_registry_may_be_named_in_parts(text: str, may_be: bool) -> None:
    """Variables may join the parts, and the login is needed before the engine expands them."""
    assert may_be_named(ECR, text) is may_be


def test_entries_that_are_changed_lose_what_they_held() -> None:
    """And those that become None go; helpers and other entries stay."""
    keys = Credentials("AKIAIOSFODNN7EXAMPLE", "the secret key")
    auths = {ECR: {"auth": keys.encoded, "email": "me"}, "b.example": {"auth": keys.encoded}, "quay.io": {"auth": "x"}}
    content = json.dumps({"auths": auths, "credHelpers": {"gcr.io": "gcloud"}}).encode()

    made = json.loads(with_entries(content, {ECR: Credentials("AWS", "a login"), "b.example": None}))

    login = {"auth": Credentials("AWS", "a login").encoded}
    assert made == {"auths": {"quay.io": {"auth": "x"}, ECR: login}, "credHelpers": {"gcr.io": "gcloud"}}


def test_entries_are_read_with_their_registries() -> None:
    """Docker writes some as URLs, a path may follow; what holds no user and password is no business of ours."""
    me = Credentials("me", "pass:word")
    auths = {
        f"https://{ECR}": {"auth": me.encoded},
        f"{ECR}/team": {"auth": me.encoded},
        "azure.example": {"identitytoken": "x"},
        "broken.example": {"auth": "???"},
    }
    found = entries_of(json.dumps({"auths": auths}).encode())
    assert found == {f"https://{ECR}": (ECR, me), f"{ECR}/team": (ECR, me)}


def test_what_is_lent_opens_only_registries_that_are_meant() -> None:
    """A pod need not know how the operator opens others. Docker Hub is meant where none is named."""
    auths = {
        name: {"auth": "x"} for name in ("https://index.docker.io/v1/", "quay.io/team", "ghcr.io", "a.example:5000")
    }
    content = json.dumps({"auths": auths, "credHelpers": {"gcr.io": "gcloud"}}).encode()

    lent = only_named(content, "FROM quay.io/team/tool AS a\nFROM ubuntu\n")

    assert json.loads(lent) == {"auths": {name: {"auth": "x"} for name in list(auths)[:2]}}


AUTHS = {
    "r.example": {"auth": "whole"},
    "r.example/library": {"auth": "library"},
    "quay.io": {"auth": "quay"},
    "https://index.docker.io/v1/": {"auth": "hub"},
}
LENDING = rules_of(["r.example/swell/build"], ["r.example"])


@pytest.mark.parametrize(
    ("principal", "images", "keys"),
    [
        (PUBLIC, [], {"r.example/library"}),
        (PUBLIC, ["quay.io/team/tool:1"], {"r.example/library", "quay.io/team/tool"}),
        (PUBLIC, ["r.example/tools/a:1"], {"r.example/library", "r.example/tools/a"}),
        (PUBLIC, ["ubuntu"], {"r.example/library", "docker.io/library/ubuntu"}),
        (limited_to(["quay.io"]), [], {"r.example/library", "quay.io"}),
        (limited_to(["quay.io/team"]), [], {"r.example/library"}),
        (OPERATOR, [], {"r.example/library"}),
        (OPERATOR, ["quay.io/team/tool:1"], {"r.example/library", "quay.io/team/tool"}),
    ],
)
def test_a_build_is_lent_what_its_principal_may_use(principal: Principal, images: list[str], keys: set[str]) -> None:
    """No entry opens more than that: not the repository of builds, and of other registries only the named images."""
    content = json.dumps({"auths": AUTHS}).encode()

    lent = json.loads(only_allowed(content, LENDING, principal, map(parse_reference, images)))["auths"]

    assert set(lent) == keys
