"""Which credentials a build with a cache is lent."""

import json
from typing import Any

import pytest

from builder.domain.credentials import with_repository

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
