"""Any output of a build is split into lines."""

from hypothesis import given
from hypothesis import strategies as st

from swell_sandbox.lines import LONGEST_PIECE, Lines, plain


def lines_of(chunks: list[bytes]) -> list[bytes]:
    lines = Lines()
    return [line for chunk in chunks for line in lines.feed(chunk)] + lines.end()


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.data())
def test_where_chunks_end_does_not_matter(written: list[bytes], data: st.DataObject) -> None:
    """Pipes cut where they like; lines end at newlines."""
    output = b"".join(line + b"\n" for line in written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=5)))
    chunks = [output[start:end] for start, end in zip([0, *cuts], [*cuts, len(output)], strict=True)]

    assert lines_of(chunks) == written


@given(st.integers(1, 5 * LONGEST_PIECE), st.integers(LONGEST_PIECE // 64, 2 * LONGEST_PIECE))
def test_a_long_line_comes_in_pieces(length: int, chunk: int) -> None:
    """However long a line is, we hold no more than a piece of it and a chunk."""
    output = b"x" * length + b"\nend"
    *pieces, end = lines_of([output[start : start + chunk] for start in range(0, len(output), chunk)])

    assert end == b"end"
    assert b"".join(pieces) == b"x" * length
    assert max(map(len, pieces)) <= LONGEST_PIECE


def test_what_ends_without_a_newline_is_a_line() -> None:
    """The last words of a program that broke are the ones that matter."""
    assert lines_of([b"first\nla", b"st"]) == [b"first", b"last"]


def test_colours_go_and_all_else_stays() -> None:
    """Logs are read in browsers and by programs; only `ESC[…m` is dropped."""
    assert plain(b"\x1b[1;32mgreen\x1b[0m \x00\xff \x1b[2K") == b"green \x00\xff \x1b[2K"
