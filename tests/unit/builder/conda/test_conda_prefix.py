"""Prefixes: what stands in files for the folder that they were made in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.conda.model.prefix import with_prefix

OLD = "/build/placehold_placehold_placehold"
NEW = "/opt/conda"
_others = st.binary(max_size=40).filter(lambda piece: b"/" not in piece)
_contents = st.lists(st.one_of(_others, st.just(OLD.encode()), st.just(b"\0"))).map(b"".join)


@given(_contents)
def test_a_program_keeps_its_length_and_its_strings(content: bytes) -> None:
    """Every string begins where it began, says what it said with the new prefix, and only NULs were added."""
    changed = with_prefix(content, OLD, "binary")
    assert len(changed) == len(content)
    assert OLD.encode() not in changed
    at = 0
    for string in content.split(b"\0"):
        expected = string.replace(OLD.encode(), NEW.encode())
        assert changed[at : at + len(string)] == expected.ljust(len(string), b"\0")
        at += len(string) + 1


@given(_contents)
def test_a_text_says_the_same_with_the_new_prefix(content: bytes) -> None:
    """Its length may change."""
    pieces = content.split(OLD.encode())
    assert with_prefix(content, OLD, "text") == NEW.encode().join(pieces)


def test_a_program_made_for_a_shorter_prefix_is_refused() -> None:
    """There is no room for ours."""
    with pytest.raises(ValueError, match="longer"):
        with_prefix(b"/p/lib\0", "/p", "binary")
