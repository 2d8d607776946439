"""Registries write their challenges in many ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.registry.challenge import Challenge, choose, parse_challenges

TOKEN = {"realm": "https://auth.example/token", "service": "registry.example"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Bearer realm="https://auth.example/token",service="registry.example"', TOKEN),
        ('Bearer realm="https://auth.example/token", service="registry.example"', TOKEN),
        ('bearer service="registry.example",Realm="https://auth.example/token"', TOKEN),
        ("BEARER realm=https://auth.example/token , service=registry.example", TOKEN),
        ('Bearer realm="https://x/v2/token",service=""', {"realm": "https://x/v2/token", "service": ""}),
        ('Bearer realm="https://x/t",scope="repository:a/b:pull,push"',
         {"realm": "https://x/t", "scope": "repository:a/b:pull,push"}),
        ('Bearer realm="say \\"hi\\", please"', {"realm": 'say "hi", please'}),
        ('Basic realm="https://host/",service="ecr.amazonaws.com"',
         {"realm": "https://host/", "service": "ecr.amazonaws.com"}),
    ],
)  # fmt: skip
def test_a_challenge_is_read_as_registries_write_it(header: str, expected: dict[str, str]) -> None:
    """Order, case, blanks and commas inside quotes differ between Docker Hub, Google, ECR, GitLab and others."""
    [challenge] = parse_challenges([header])

    assert challenge.parameters == expected


@pytest.mark.parametrize(
    "headers",
    [
        ['Basic realm="x"', 'Bearer realm="https://auth.example/token"'],
        ['Bearer realm="https://auth.example/token"', 'Basic realm="x"'],
        ['Basic realm="x", Bearer realm="https://auth.example/token"'],
        ['Negotiate, Bearer realm="https://auth.example/token", Basic realm="x"'],
    ],
)
def test_bearer_is_preferred_wherever_it_stands(headers: list[str]) -> None:
    """A token is good for one repository only; a password for all."""
    assert choose(parse_challenges(headers)) == Challenge("bearer", {"realm": "https://auth.example/token"})


@pytest.mark.parametrize("headers", [[], [""], ["Negotiate"], ["Bearer"], ['realm="x"'], ['Digest realm="x"']])
def test_a_challenge_that_we_cannot_answer_is_none(headers: list[str]) -> None:
    """The registry then counts as refusing."""
    assert choose(parse_challenges(headers)) is None


@given(st.lists(st.text(alphabet=st.sampled_from('Bearer realm=",\\ \t;x\n')) | st.text(), max_size=4))
def test_hostile_headers_raise_nothing(headers: list[str]) -> None:
    """They come from any host that a user names."""
    choose(parse_challenges(headers))


@pytest.mark.parametrize(
    "header", ["Basic", 'Basic realm="r"', 'Bearer service="s", Basic realm="r"', 'Other x="y", basic']
)
def test_basic_is_answered_where_there_is_no_other(header: str) -> None:
    """A Bearer challenge without a realm says nothing about where to get a token."""
    chosen = choose(parse_challenges([header]))

    assert chosen
    assert chosen.scheme == "basic"
