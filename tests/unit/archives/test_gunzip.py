"""Gzip files of strangers are inflated as gzip(1) does, with limits."""

import gzip
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.archives import gunzip
from swell.archives.gunzip import BadGzip, Gunzip, open_gzip

CONTENT = random.Random(7).randbytes(3_000_000) + bytes(3_000_000)  # noqa: S311
_WHOLE = gzip.compress(b"abc", mtime=0)  # the names of tests are equal in all processes that collect them


def inflated(content: bytes, piece: int = 100_000) -> bytes:
    stream = Gunzip()
    pieces = [each for at in range(0, len(content), piece) for each in stream.inflate(content[at : at + piece])]
    return b"".join([*pieces, *stream.finish()])


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.integers(1, 40))
def test_members_follow_each_other_at_any_byte(members: list[bytes], piece: int) -> None:
    """Parallel compressors write many members; the network cuts the stream anywhere."""
    assert inflated(b"".join(map(gzip.compress, members)), piece) == b"".join(members)


def test_large_content_comes_in_pieces() -> None:
    """Memory is bounded: no piece has more than 1 MiB."""
    pieces = list(Gunzip().inflate(gzip.compress(CONTENT)))

    assert max(map(len, pieces)) <= 1 << 20
    assert inflated(gzip.compress(CONTENT)) == CONTENT


@pytest.mark.parametrize("content", [b"", b"PK", _WHOLE[:-1], _WHOLE + b"x", b"\0" * 20])
def test_what_is_no_gzip_is_refused(content: bytes) -> None:
    """It is an error of who sent it."""
    with pytest.raises(BadGzip):
        inflated(content)
    with pytest.raises(BadGzip):
        open_gzip(io.BytesIO(content)).read()


def test_a_reader_skips_padding_and_goes_back() -> None:
    """Tapes need whole blocks; the reader of a tar reads a hard link's target again."""
    reader = open_gzip(io.BytesIO(gzip.compress(CONTENT[:10]) + bytes(512) + gzip.compress(CONTENT[10:]) + bytes(9)))

    assert (reader.read(5), reader.seek(20), reader.read(5)) == (CONTENT[:5], 20, CONTENT[20:25])
    assert (reader.seek(3_000_010), reader.read(3)) == (3_000_010, bytes(3))
    assert (reader.seek(0), reader.read()) == (0, CONTENT)


def test_the_number_of_members_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four megabytes of empty members kept a builder busy for six seconds; a context of a gigabyte, for hours."""
    monkeypatch.setattr(gunzip, "MAX_MEMBERS", 10)

    with pytest.raises(BadGzip, match="members"):
        open_gzip(io.BytesIO(gzip.compress(b"") * 11)).read(1)
