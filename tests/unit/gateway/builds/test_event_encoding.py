"""Server-sent events: a browser reads the lines of the build, and can resume at any position."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.builds.event_encoding import Lines, Position, encode_end, encode_gap, encode_lines, parse_position
from swell.api.builds import BuildEnd, BuildStep
from swell.errors import BadRequest
from swell.store.logs import LoggedStep, decode_header, encode_header
from tests.unit.gateway.builds.eventsource import parse
from tests.unit.gateway.doubles import NOON

CONTENT = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=8)


@given(CONTENT, st.integers(1, 1000))
def test_each_line_of_any_build_is_one_event(lines: list[bytes], first: int) -> None:
    """Broken UTF-8, NUL and carriage returns among them: what arrives is text, and its numbers are those of the log."""
    content = b"".join(line + b"\n" for line in lines)

    events = parse(encode_lines(Lines(1, first, content), Position()))

    assert [event.id for event in events] == [f"1-{first + number}" for number in range(len(lines))]
    for event, line in zip(events, lines, strict=True):
        said = line.removesuffix(b"\r").decode(errors="replace").replace("\0", "\ufffd").replace("\r", "\n")
        assert event.data == said


@given(CONTENT, st.integers(0, 12))
def test_a_client_gets_the_lines_that_it_does_not_have(lines: list[bytes], known: int) -> None:
    """Not the line before, and none is left out."""
    content = b"".join(line + b"\n" for line in lines)

    events = parse(encode_lines(Lines(2, 3, content), Position(2, known)))

    assert [event.id for event in events] == [f"2-{number}" for number in range(max(3, known + 1), 3 + len(lines))]


def logged(line: int, order: int, name: str = "RUN true") -> LoggedStep:
    """The *order*th step after *line*."""
    return LoggedStep(line, order, BuildStep(number=1, name=name, started=NOON))


STEPS = st.lists(st.tuples(st.integers(2, 10), st.integers(1, 3)), max_size=6, unique=True).map(sorted)


@given(st.integers(0, 8), STEPS, st.integers(0, 16))
def test_a_client_resumes_at_any_line_and_step(count: int, places: list[tuple[int, int]], known: int) -> None:
    """Together, what it had and what it gets are all lines and steps, each once and in their order."""
    steps = tuple(logged(line, order) for line, order in places if line <= 2 + count)
    lines = Lines(1, 3, b"a\n" * count, steps)
    events = parse(encode_lines(lines, Position()))
    had = events[:known]

    rest = parse(encode_lines(lines, parse_position(had[-1].id) if had else Position(1, 2)))

    assert had + rest == events
    assert len(events) == count + len(steps)
    positions = [parse_position(event.id) for event in events]
    assert positions == sorted(set(positions))
    assert not events or lines.last == positions[-1]


def test_a_step_is_an_event_between_its_lines() -> None:
    """Its id has the line before it; its data are JSON, for any name of a step."""
    step = LoggedStep(1, 1, BuildStep(number=7, name="RUN echo \n\rä", started=NOON, cached=True, transferred=5))

    events = parse(encode_lines(Lines(2, 1, b"a\nb\n", (step,)), Position()))

    assert [(event.name, event.id) for event in events] == [("message", "2-1"), ("step", "2-1.1"), ("message", "2-2")]
    assert events[1].data == (
        '{"number":7,"name":"RUN echo \\n\\rä","started":"2026-11-23T12:00:00Z","cached":true,"bytes":5}'
    )


def test_steps_survive_the_way_through_a_header() -> None:
    """It is one line of ASCII, and a header of a later version is no error."""
    steps = (logged(1, 1, "RUN echo \n\rä\U0001f600"), logged(1, 2))
    header = encode_header(steps)
    assert header.isascii()
    assert header.isprintable()
    assert decode_header(header) == steps
    assert decode_header("[[1]]") == decode_header("") == ()


def test_lines_of_another_attempt_are_all_new() -> None:
    """Line numbers start again in each attempt."""
    assert len(parse(encode_lines(Lines(2, 1, b"a\nb\n"), Position(1, 500)))) == 2


def test_steps_alone_have_no_gap() -> None:
    """The next lines show which lines were not streamed."""
    assert encode_gap(Position(1, 4), Lines(1, 9, b"", (logged(6, 1),))) == b""


def test_what_follows_needs_no_word() -> None:
    """Consecutive or overlapping lines need no gap event."""
    assert encode_gap(Position(), Lines(1, 1, b"a\n")) == b""
    assert encode_gap(Position(1, 4), Lines(1, 5, b"a\n")) == b""
    assert encode_gap(Position(1, 4), Lines(1, 3, b"a\nb\nc\n")) == b""


def test_another_attempt_and_missing_lines_are_events() -> None:
    """A page can then say so, instead of showing two builds as one."""
    gap_events = parse(encode_gap(Position(1, 500), Lines(2, 4, b"d\n")))

    assert [(event.name, event.data) for event in gap_events] == [
        ("restart", '{"attempt":2}'),
        ("gap", '{"attempt":2,"from":1,"to":3}'),
    ]


def test_the_end_is_an_event_with_the_last_id() -> None:
    """A client that reconnects with this id gets 204."""
    (event,) = parse(encode_end(2, BuildEnd(id="bd-1_1", succeeded=True, exit_status=0, duration=1.5)))

    assert (event.name, event.id) == ("end", "2-end")
    assert event.data == '{"id":"bd-1_1","succeeded":true,"exitStatus":0,"duration":1.5}'
    assert parse_position(event.id).is_end


@pytest.mark.parametrize(
    ("text", "position"), [("", Position()), ("3-17", Position(3, 17)), ("3-0.12", Position(3, 0, 12))]
)
def test_a_position_is_read(text: str, position: Position) -> None:
    """The ids that the server sends are accepted."""
    assert parse_position(text) == position


@pytest.mark.parametrize(
    "text", ["17", "1-", "-1", "1-x", "1-2-3", "1-2 ", "1-2.", "1-.2", "1-end.1", "x" * 100, "1-" + "9" * 13, "１-2"]
)
def test_an_id_that_is_none_of_ours_is_refused(text: str) -> None:
    """A malformed id would otherwise repeat the whole log."""
    with pytest.raises(BadRequest, match="Last-Event-ID"):
        parse_position(text)
