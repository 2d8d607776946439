"""A signed link gives access to one blob for 15 minutes, and cannot be forged."""

import hmac
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_proxy.domain.link import LIFE, PREFIX, Link, Origin, mark_of, sign, verify
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


def test_a_link_has_all_data_to_serve_it() -> None:
    """Serving a link needs no lookup."""
    assert verify(SIGNED, KEY, NOW) == LINK


def test_a_link_fits_into_a_location_header() -> None:
    """Clients and proxies must not have to quote anything."""
    assert SIGNED.startswith(PREFIX)
    assert SIGNED.removeprefix(PREFIX).replace("_", "").replace("-", "").replace(".", "").isalnum()


def test_a_link_hides_its_token() -> None:
    """Links appear in logs and in caches of others; tokens must not."""
    token = "w5bgtyvxnpli57dtojtubvohem"

    assert token not in mark_of(token, KEY)
    assert mark_of(token, KEY) == mark_of(token, KEY) != mark_of(token[::-1], KEY)


def test_an_expired_link_is_refused() -> None:
    """A link from an old log gives no access."""
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
def test_malformed_links_are_refused(text: str) -> None:
    """Clients can send any path."""
    with pytest.raises(Denied):
        verify(PREFIX + text, KEY, NOW)


def test_a_link_is_the_same_in_the_next_release() -> None:
    """During an upgrade, one replica signs and another verifies: see docs/upgrading.md before you change a link."""
    assert SIGNED == (
        "/blobs/WyJ1cHN0cmVhbSIsImxvY2FsaG9zdDo1MDAwIiwibGlicmFyeS91YnVudHUiLCJzaGEyNTY6ZGFjMWQ3Y2ZhOTUwMjE3N"
        "jQ4NDlmZDEwMjUyNGUxNDE0ODhjNWUzYTkwZjg2MWRiYjVhMTJkOWFjODU4NGY4NSIsNSwiYXBwbGljYXRpb24vdm5kLm9jaS5pb"
        "WFnZS5sYXllci52MS50YXIrZ3ppcCIsMTgwMDAwMDA2MCxmYWxzZSwiIiwicHVibGljIl0.3OJ-iByuOh11nZFx2GWzQvX9opbDu"
        "ZDB83oPQw_6Jqs"
    )
    assert mark_of("w5bgtyvxnpli57dtojtubvohem", KEY) == "Xh0-DeawPEFB0iwT"
    assert LINK.scope.key == "5995752341169da6c0e18a05c99cd98cfeb94172"


def test_a_link_lives_for_a_quarter_of_an_hour() -> None:
    """docs/operating.md and the threat model say so."""
    assert LIFE == 15 * 60


def test_a_link_names_its_blob_for_upstream_and_for_sharing() -> None:
    """What is shared within a scope is shared by everyone who has the same four values, and by no one else."""
    reference = LINK.reference
    assert (reference.registry, reference.repository, reference.digest) == (LINK.registry, LINK.repository, LINK.digest)
    assert LINK.scope == (LINK.registry, LINK.repository, LINK.principal, LINK.digest)
    assert not LINK.relayed


@pytest.mark.parametrize(
    "payload", [b'["upstream"]', b"{}", b"no JSON", b'["elsewhere","r","x","sha256:0",1,"m",9]', b"\xff"]
)
def test_a_signed_link_of_another_form_is_refused(payload: bytes) -> None:
    """It comes from another version that has the same key; a pull again makes a link that can be read."""
    text = urlsafe_b64encode(payload).rstrip(b"=").decode()
    signature = urlsafe_b64encode(hmac.digest(KEY, f"swell blob link {text}".encode(), "sha256")).rstrip(b"=").decode()

    with pytest.raises(Denied, match="another version"):
        verify(f"{PREFIX}{text}.{signature}", KEY, NOW)
    with pytest.raises(Denied, match="another version"):
        verify(
            f"{PREFIX}A.{urlsafe_b64encode(hmac.digest(KEY, b'swell blob link A', 'sha256')).rstrip(b'=').decode()}",
            KEY,
            NOW,
        )
