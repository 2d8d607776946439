"""A link opens one blob, for a short while, and cannot be made by anybody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_proxy.domain.link import PREFIX, Link, Origin, mark_of, sign, verify
from swell.errors import Denied
from swell.oci.digest import digest_of

KEY = b"k" * 32
NOW = 1_800_000_000.0
LINK = Link(
    origin=Origin.UPSTREAM,
    registry="localhost:5000",
    repository="library/ubuntu",
    digest=digest_of(b"layer"),
    size=5,
    media_type="application/vnd.oci.image.layer.v1.tar+gzip",
    expires=int(NOW) + 60,
)
SIGNED = sign(LINK, KEY)


def test_a_link_tells_what_it_was_made_for() -> None:
    """Serving it asks nobody else."""
    assert verify(SIGNED, KEY, NOW) == LINK


def test_a_link_fits_into_a_location_header() -> None:
    """Clients and proxies must not have to quote anything."""
    assert SIGNED.startswith(PREFIX)
    assert SIGNED.removeprefix(PREFIX).replace("_", "").replace("-", "").replace(".", "").isalnum()


def test_a_link_is_told_to_be_of_a_token_without_telling_it() -> None:
    """Links stand in logs and in other people's caches; tokens must not."""
    token = "w5bgtyvxnpli57dtojtubvohem"

    assert token not in mark_of(token, KEY)
    assert mark_of(token, KEY) == mark_of(token, KEY) != mark_of(token[::-1], KEY)


def test_an_expired_link_is_refused() -> None:
    """Whoever finds it in a log opens nothing with it."""
    with pytest.raises(Denied, match="expired"):
        verify(SIGNED, KEY, LINK.expires)


def test_another_key_makes_another_link() -> None:
    """Rotating the key revokes all links."""
    with pytest.raises(Denied):
        verify(SIGNED, b"other" * 7, NOW)


@given(st.integers(len(PREFIX), len(SIGNED) - 1), st.characters(codec="ascii"))
def test_a_changed_link_is_refused(at: int, character: str) -> None:
    """No byte of it can be exchanged."""
    changed = SIGNED[:at] + character + SIGNED[at + 1 :]
    if changed != SIGNED:
        with pytest.raises(Denied):
            verify(changed, KEY, NOW)


@given(st.text())
def test_nonsense_is_refused(text: str) -> None:
    """The path is whatever a client sends."""
    with pytest.raises(Denied):
        verify(PREFIX + text, KEY, NOW)
