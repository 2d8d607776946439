"""Answers that `swell wave` reads: a hostile server may send anything."""

import pytest

from swell_cli.wave.answers import awaited_yaml, read_answer, read_json, read_status, to_json, to_yaml
from swell_cli.wave.inspection import read_inspection
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


@pytest.mark.parametrize(
    "members",
    [
        '"expiration": "2024-13-45T00:00:00Z"',
        '"creationTime": "0001-01-01T00:00:00+10:00"',
        '"vulnerabilities": {"LOW": 1e999}',
        f'"duration": {"9" * 5000}',
        '"container": [1]',
        f'"container": {{"digest": {"9" * 5000}}}',
        f'"container": {{"digest": {"[" * 900}{"]" * 900}}}',
    ],
    ids=["month", "year 0", "infinity", "digits", "list", "long number", "nesting"],
)
def test_members_of_another_kind_are_an_error_and_no_stack_trace(members: str) -> None:
    """The run ends with a message, as for any other answer that is not Wave's."""
    found = read_json(f'{{"index": {{}}, {members}}}'.encode(), "http://localhost:9090")

    def show() -> None:
        to_yaml(awaited_yaml(read_answer(found), read_status(found)))
        to_json(read_inspection(found))

    with pytest.raises(WaveError, match="cannot be read"):
        show()
