"""Where registries answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from swell.errors import BadRequest
from swell.oci.reference import parse_registry
from swell.registry.address import endpoint


@pytest.mark.parametrize(
    ("registry", "address"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("quay.io:8443", "https://quay.io:8443"),
        ("localhost:5000", "http://localhost:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("mirror.example", "http://mirror.example"),
        ("xn--mnchen-3ya.de", "https://xn--mnchen-3ya.de"),
    ],
)
def test_a_registry_answers_by_https_but_here(registry: str, address: str) -> None:
    """On loopback, or if the operator allows it, plain http is used."""
    assert endpoint(registry, frozenset({"mirror.example"})) == URL(address)


@pytest.mark.parametrize("registry", ["xn--a.com", "xn--zzzzzz99999.com"])
def test_a_name_that_no_host_can_have_is_the_clients_mistake(registry: str) -> None:
    """The libraries below stumble over it, each in its own way."""
    with pytest.raises(BadRequest, match="no host of that name"):
        endpoint(registry)


@given(st.from_regex(r"(xn--)?[a-z0-9.:-]{1,70}|\[[0-9a-f:]{0,20}\](:[0-9]{1,6})?", fullmatch=True))
def test_any_registry_has_an_address_or_none(text: str) -> None:
    """Nothing else comes out of what a client writes."""
    try:
        assert endpoint(parse_registry(text)).host
    except BadRequest:
        return
