"""Logs: one JSON line an event, joined by the ids of the request that caused it."""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any

import pytest
import structlog

from swell.log import Format, configure, current_trace, trace_headers, tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"


class Lines(io.StringIO):
    """Stands in for stderr."""

    def read_all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What a service says that was configured to log; afterwards all is as before."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    with redirect_stderr(Lines()) as said:
        configure("tester", "INFO")
    yield said
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_event_is_one_json_line(lines: Lines) -> None:
    """A collector can read it without knowing us; a line feed in a value does not make two."""
    structlog.get_logger().info("manifest served", digest="sha256:0", text="a\nb")

    (line,) = lines.read_all()
    assert line.items() >= {"service": "tester", "level": "info", "event": "manifest served", "text": "a\nb"}.items()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])


def test_log_records_of_libraries_have_the_same_form(lines: Lines) -> None:
    """Collectors parse one format."""
    with tracing("request-7", CALLER):
        logging.getLogger("some.library").warning("slow answer from %s", "there")

    (line,) = lines.read_all()
    assert line.items() >= {"service": "tester", "event": "slow answer from there", "trace_id": TRACE}.items()


def test_an_exception_stays_in_its_line(lines: Lines) -> None:
    """A search for the request id finds the whole stack trace."""
    try:
        raise KeyError("lost")
    except KeyError as error:
        structlog.get_logger().error("call failed", exc_info=error)

    (line,) = lines.read_all()
    assert "KeyError: 'lost'" in line["exception"]


def test_text_of_a_stranger_cannot_control_the_terminal() -> None:
    """In lines for people: not by a field, an event of a library or the text of an exception, in any spelling."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    hostile = "/a\x1b[2J\x9b31m\u202e\r\n2026-11-30T00:00:00Z [error    ] forged"
    try:
        with redirect_stderr(io.StringIO()) as written:
            configure("tester", "INFO", Format.TEXT)
            structlog.get_logger().info("request answered", path=hostile, other="/b\x1b[2J")
            logging.getLogger("some.library").warning("failed: %s", hostile)
            for logger in (structlog.get_logger(), logging.getLogger("some.library")):
                try:
                    raise ValueError(hostile)
                except ValueError:
                    logger.exception("call failed")
    finally:
        structlog.configure(**before)
        root.handlers[:] = handlers
        root.setLevel(level)

    lines = written.getvalue().split("\n")
    assert all(line.isprintable() for line in lines), lines
    assert not [line for line in lines if line.startswith("2026-11-30T00:00:00Z")]
    assert sum("forged" in line for line in lines) == 4


def test_a_full_disk_behind_the_log_stops_no_request(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is answered all the same; and the next line may be written again."""

    def full(_text: str) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(lines, "write", full)
        structlog.get_logger().info("lost")
    structlog.get_logger().info("there is room again")

    assert [line["event"] for line in lines.read_all()] == ["there is room again"]


def test_events_below_the_level_are_dropped(lines: Lines) -> None:
    """The operator chooses the level."""
    structlog.get_logger().debug("detail")
    logging.getLogger("some.library").debug("detail")

    assert lines.read_all() == []


def test_a_request_continues_the_trace_of_its_caller() -> None:
    """Collectors join the spans of services; a trace that is not sampled stays so."""
    unsampled = CALLER.removesuffix("01") + "00"
    with tracing("request-7", CALLER):
        headers = trace_headers()
    with tracing("request-7", unsampled):
        other = trace_headers()["traceparent"]

    assert headers == {"x-request-id": "request-7", "traceparent": CALLER}
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-00", other)


@pytest.mark.parametrize(
    "traceparent", [None, "", "nonsense", CALLER.upper(), f"{CALLER}-more", CALLER.replace("00-", "01-", 1)]
)
def test_a_request_without_a_trace_begins_one(traceparent: str | None) -> None:
    """What a client sends is not trusted: nothing but a trace id gets into our log lines."""
    with tracing("request-7", traceparent):
        trace = current_trace().trace_id

    assert re.fullmatch(r"[0-9a-f]{32}", trace)
    assert trace != TRACE


def test_request_ids_end_with_the_request() -> None:
    """The next log line belongs to another request."""
    with tracing("request-7"), tracing("request-8"):
        pass

    assert trace_headers() == {}
