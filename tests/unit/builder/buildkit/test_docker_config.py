"""Credentials as Docker's programs read them."""

import json

import pytest

from builder.buildkit.docker_config import docker_config
from builder.domain.failure import BuildFailure


def hosts(keys: list[str], *images: str) -> set[str]:
    auths = {key: {"auth": "eDp5"} for key in keys}
    return set(json.loads(docker_config(json.dumps({"auths": auths}).encode(), images))["auths"])


def test_a_login_for_a_registry_stays() -> None:
    """Its name is spelt as Docker does, Docker Hub's too."""
    assert hosts(["r.org:5000", "docker.io", "https://x.org/v1/"]) == {
        "r.org:5000",
        "https://index.docker.io/v1/",
        "x.org",
    }


def test_a_login_for_a_path_is_for_images_below_it() -> None:
    """Docker would show it for the whole registry, so other images there must not be named."""
    assert hosts(["r.org/team"], "r.org/team/base:1") == {"r.org"}
    assert hosts(["r.org/team"], "r.org/team/base:1", "r.org/other:1") == set()
    assert hosts(["r.org/team"], "r.org/teams/base:1") == set()
    assert hosts(["r.org/team"], "ubuntu") == set()
    assert hosts(["docker.io/library"], "ubuntu:24.04") == {"https://index.docker.io/v1/"}


def test_logins_for_single_repositories_are_one_for_their_registry() -> None:
    """A build is lent an entry for each base image; one login that opens all of them is the registry's."""
    same = json.dumps({"auths": {"r.example/a/one": {"auth": "x"}, "r.example/b/two": {"auth": "x"}}}).encode()
    other = json.dumps({"auths": {"r.example/a/one": {"auth": "x"}, "r.example/b/two": {"auth": "y"}}}).encode()
    images = ["r.example/a/one:1", "r.example/b/two:1"]

    assert json.loads(docker_config(same, images))["auths"] == {"r.example": {"auth": "x"}}
    assert json.loads(docker_config(other, images))["auths"] == {}
    assert json.loads(docker_config(same, [*images, "r.example/c/three"]))["auths"] == {}


def test_what_is_no_auth_file_is_the_operators_fault() -> None:
    """The user cannot mend it."""
    with pytest.raises(BuildFailure, match="no auth file"):
        docker_config(b"[]", [])
