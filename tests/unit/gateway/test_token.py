"""Tokens: the holder may pull one image."""

import re

import pytest

from gateway.domain.token import is_token, new_token


def test_a_token_fits_into_an_image_name_and_cannot_be_guessed() -> None:
    """26 of 32 signs hold 128 bits; image names have lower case only."""
    tokens = {new_token() for _ in range(1000)}

    assert len(tokens) == 1000
    assert all(is_token(token) for token in tokens)
    assert all(re.fullmatch(r"[a-z0-9]{26}", token) for token in tokens)
    assert len({sign for token in tokens for sign in token}) == 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0123456789ab", True),
        ("a2b3c4d5e6f7g2h3i4j5k6l7m2", True),
        ("0123456789a", False),
        ("0123456789AB", False),
        ("0123456789ab\n", False),
        ("0123456789a/", False),
        ("", False),
    ],
)
def test_the_form_of_a_token_is_recognised(text: str, expected: bool) -> None:
    """Wave's own tokens, 12 hex digits, are taken as well; nothing else is looked up."""
    assert is_token(text) is expected
