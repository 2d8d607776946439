"""Byte ranges of a blob follow RFC 9110."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_proxy.domain.ranges import Span, content_range, parse_range
from swell.errors import RangeInvalid
from swell.net.ranges import parse_content_range


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=2-5", Span(2, 6)),
        ("bytes=2-", Span(2, 10)),
        ("bytes=2-99", Span(2, 10)),
        ("bytes=2-" + "9" * 90, Span(2, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-99", Span(0, 10)),
        ("Bytes = 2 - 5", Span(2, 6)),
    ],
)
def test_one_range_is_a_part(text: str, span: Span) -> None:
    """Its last byte is named, and belongs to it."""
    assert parse_range(text, 10) == span


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=" + "9" * 50 + "-"])
def test_a_range_that_the_blob_does_not_have_is_refused(text: str) -> None:
    """A client that has all of it already asks so, and must learn it."""
    with pytest.raises(RangeInvalid):
        parse_range(text, 10)


@pytest.mark.parametrize(
    "text",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=²-", "٣-٤"],
)
def test_what_is_no_single_range_is_the_whole(text: str) -> None:
    """The RFC lets a server ignore it, and a client must take the whole."""
    assert parse_range(text, 10) is None


@given(st.one_of(st.text(), st.from_regex(r"bytes=[0-9]{0,30}-[0-9]{0,30}")), st.integers(0, 1 << 40))
def test_a_part_lies_within_the_blob(text: str, size: int) -> None:
    """Any header gives bytes inside the blob, the whole blob, or an error."""
    try:
        span = parse_range(text, size)
    except RangeInvalid:
        return
    assert span is None or 0 <= span.start < span.stop <= size


@given(st.integers(0, 1 << 40), st.integers(1, 1 << 40), st.integers(0, 1 << 40))
def test_what_we_say_of_a_part_is_what_others_read(start: int, length: int, rest: int) -> None:
    """A registry's words are read by the rule that ours are written by."""
    text = content_range(Span(start, start + length), start + length + rest)

    assert parse_content_range(text) == (start, start + length + rest)


@given(st.text())
def test_an_invalid_content_range_is_refused(text: str) -> None:
    """An invalid header is recognized, not used."""
    found = parse_content_range(text)
    assert found is None or found[0] >= 0
