"""Answers that `swell wave` reads: a hostile server may send anything."""

import pytest

from swell_cli.wave.answers import read_json
from swell_cli.wave.options import WaveError


@pytest.mark.parametrize(
    "body",
    [b"[" * 1_000_000, b'{"a":' * 1_000_000, b"", b"\xff", b"[1" + b",1" * (8 << 20) + b"]"],
    ids=["lists", "objects", "empty", "no text", "large"],
)
def test_what_is_no_answer_is_a_failed_connection(body: bytes) -> None:
    """Deep nesting ended with a stack trace, and a large answer took gigabytes."""
    with pytest.raises(WaveError, match="Unable to connect"):
        read_json(body, "http://localhost:9090")
