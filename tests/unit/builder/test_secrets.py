"""Secrets that we know are in no log, however a build comes to say them."""

import json
from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.domain.secrets import MASK, Masker, may_go_on, secrets_of

PASSWORD = b"correct/horse+battery staple"
AUTH = b64encode(b"ada:" + PASSWORD).decode()
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ"
FILE = json.dumps({"auths": {"quay.io": {"auth": AUTH}, "ghcr.io": {"identitytoken": TOKEN}}}).encode()


@pytest.fixture
def masker() -> Masker:
    return Masker(secrets_of(FILE))


def test_the_secrets_of_an_auth_file_are_passwords_tokens_and_their_encodings() -> None:
    """Each of them would open the registry."""
    assert secrets_of(FILE) == {PASSWORD, AUTH.encode(), TOKEN.encode()}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"auths": {"a": {"auth": "???"}}}', b'{"credHelpers": {}}'])
def test_a_file_without_secrets_masks_nothing_that_it_does_not_hold(content: bytes) -> None:
    """A credential helper's file holds none; one that is broken opens no registry either."""
    assert secrets_of(content) <= {b"???"}


@pytest.mark.parametrize(
    "said",
    [
        PASSWORD,
        b"password=" + PASSWORD + b"!",
        AUTH.encode(),
        b'"auth": "%s"' % AUTH.encode(),
        TOKEN.encode(),
        b"https://ada:correct%2Fhorse%2Bbattery%20staple@quay.io/",
        PASSWORD + PASSWORD,
    ],
)
def test_a_secret_is_masked_anywhere_in_a_line(masker: Masker, said: bytes) -> None:
    """Alone, in a URL and inside a base64 text."""
    masked = masker.mask(b"+ " + said + b" +")

    assert MASK in masked
    assert masked.startswith(b"+ ") and masked.endswith(b" +")
    for secret in (PASSWORD, AUTH.encode(), TOKEN.encode()):
        assert secret not in masked


@given(
    before=st.binary(max_size=10), after=st.binary(max_size=10), encode=st.sampled_from([b64encode, urlsafe_b64encode])
)
def test_a_secret_is_masked_inside_base64(before: bytes, after: bytes, encode: object) -> None:
    """At each of the three offsets; at most characters at the edges remain."""
    masker = Masker([PASSWORD])

    masked = masker.mask(encode(before + PASSWORD + after))  # type: ignore[operator]

    assert MASK in masked
    assert len(masked) <= len(MASK) + (len(before) + len(after)) * 4 // 3 + 9


@given(st.integers(0, len(PASSWORD)))
def test_a_secret_across_two_lines_is_masked_in_both(cut: int) -> None:
    """Long lines are split into pieces."""
    masker = Masker([PASSWORD])
    first, second = masker.mask_across(b"x" * 5000 + PASSWORD[:cut], PASSWORD[cut:] + b"yyy")

    output = masker.mask(first) + masker.mask(second)

    assert output == b"x" * 5000 + MASK + b"yyy"


def test_unrelated_lines_are_unchanged(masker: Masker) -> None:
    """Only a secret across their border is masked."""
    assert masker.mask_across(b"correct", b"horse") == (b"correct", b"horse")


def test_a_key_of_several_lines_is_masked_line_by_line() -> None:
    """The JSON of a service account is a password, but single braces are not masked."""
    masker = Masker([b'{\n  "private_key": "MIIEvQ"\n}'])

    assert masker.mask(b'  "private_key": "MIIEvQ"') == MASK
    assert masker.mask(b"{ }") == b"{ }"


def test_short_secrets_are_not_masked() -> None:
    """They would mask ordinary words."""
    assert Masker([b"abc"]).mask(b"abcabc") == b"abcabc"


def test_long_lines_and_code_may_go_on() -> None:
    """Pieces of a line that was too long, and the lines that base64 breaks its text into."""
    assert may_go_on(b"x y" * 6000)
    assert may_go_on(b64encode(b"x" * 57))
    assert not may_go_on(b"STEP 2/3: RUN echo a line as builds say them, which is not so short either")
