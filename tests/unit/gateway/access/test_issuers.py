"""The file of OpenID Connect issuers: the examples of the documentation, and what is refused."""

import re
from pathlib import Path

import pytest

from gateway.domain.access.identity import Scope
from gateway.domain.access.issuers import Issuer, identity_of, matches, parse_issuers
from swell.errors import TokenInvalid

PAGE = Path("docs/identity.md").read_text()
EXAMPLES = re.findall(r"```toml\n(\[\[issuer.*?)```", PAGE, re.DOTALL)
MINIMAL = '[[issuer]]\nname = "a"\nurl = "https://a.example.org"\nrequired = {}\n'

TWO_CLIENTS = "".join(
    f'[[issuer]]\nname = "{name}"\nurl = "https://{name}.example.org"\nrequired = {{}}\nclient_id = "swell"\n'
    for name in ("a", "b")
)


def test_the_examples_of_the_page_are_valid() -> None:
    """Operators copy them."""
    names = [issuer.name for example in EXAMPLES for issuer in parse_issuers(example.encode())]

    assert names == ["github", "gitlab", "cluster", "people"]


def test_the_example_for_github_accepts_only_the_laboratory() -> None:
    """GitHub gives tokens to every repository of the world."""
    [github] = parse_issuers(EXAMPLES[0].encode())
    claims = {"repository_owner": "my-laboratory", "repository": "my-laboratory/pipeline", "exp": 2e9}

    identity = identity_of(github, claims)

    assert (identity.user, identity.organisation) == ("oidc:github:my-laboratory/pipeline", "my-laboratory")
    assert identity.scopes == {Scope.BUILD, Scope.PULL, Scope.INSPECT}
    with pytest.raises(TokenInvalid):
        identity_of(github, claims | {"repository_owner": "my-laboratory-2"})


def test_every_field_is_documented() -> None:
    """Operators find the fields only in this page."""
    table = PAGE.split("| field |")[1].split("\n\n")[0]

    assert {field for field in Issuer.__struct_fields__ if f"`{field}`" not in table} == set()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (MINIMAL.replace("required = {}\n", ""), "required"),
        (MINIMAL + 'algorithms = ["none"]', "none"),
        (MINIMAL + 'algorithms = ["HS256"]', "HS256"),
        (MINIMAL + "algorithms = []", "algorithms"),
        (MINIMAL + 'audiences = ["a"]', "audiences"),
        (MINIMAL + MINIMAL, "two issuers have the same name"),
        (MINIMAL + MINIMAL.replace('"a"', '"b"'), "two issuers have the same url"),
        (MINIMAL.replace("https://", "ftp://"), "url"),
        (MINIMAL + "leeway = 3600", "leeway"),
        (MINIMAL + '[[issuer.rule]]\nwhen = {}\nrepositories = ["a b/c"]', "repositories"),
        ("issuer = 1", "issuer"),
        (TWO_CLIENTS, "only one issuer"),
        ("[[", "TOML|table|parse|Invalid|Expected"),
    ],
)
def test_a_file_with_another_form_is_refused(text: str, problem: str) -> None:
    """The server does not start, and the message names the field."""
    with pytest.raises(ValueError, match=problem):
        parse_issuers(text.encode())


@pytest.mark.parametrize(
    ("claims", "is_met"),
    [
        ({"team": "a"}, True),
        ({"team": ["x", "a"]}, True),
        ({"team": ["x"]}, False),
        ({"team": "ab"}, False),
        ({"team": {"a": 1}}, False),
        ({"team": None}, False),
        ({}, False),
    ],
)
def test_a_condition_needs_exactly_its_value(claims: dict[str, object], is_met: bool) -> None:
    """A claim with a list needs one of the values; no other form matches by accident."""
    assert matches(claims, {"team": "a"}) is is_met


def test_truth_values_match_their_names() -> None:
    """`ref_protected: true` of GitLab is text, that of others a truth value."""
    assert matches({"ref_protected": True}, {"ref_protected": "true"})
    assert matches({"ref_protected": "true"}, {"ref_protected": "true"})
    assert not matches({"ref_protected": False}, {"ref_protected": "true"})
