"""Encode a build log as server-sent events: an event per line, then one event for the end of the build.

The id of a line's event is `<attempt>-<line>`. Lines are numbered from 1 in each attempt, in the stream and in the
stored log alike, so a client can resume at its position at any time. The id of the last event is `<attempt>-end`.

Source: HTML Living Standard, 9.2 "Server-sent events", https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from functools import lru_cache
from typing import NamedTuple

import msgspec
from msgspec import Struct

from swell.api.builds import BuildEnd
from swell.errors import BadRequest

HEARTBEAT = b": the build goes on\n\n"

_ID = re.compile(r"(\d{1,9})-(\d{1,12}|end)", re.ASCII)


class Position(NamedTuple):
    """The attempt and the number of the last line that a client has; zeros before the first line."""

    attempt: int = 0
    line: int = 0
    is_end: bool = False


class Lines(Struct, frozen=True):
    """Whole lines of an attempt, each with its line feed; `first` is the number of the first line."""

    attempt: int
    first: int
    content: bytes

    @property
    def last(self) -> Position:
        return Position(self.attempt, self.first - 1 + self.content.count(b"\n"))


def parse_position(last_event_id: str) -> Position:
    """Parse the id of the last event that a client has; an empty id is the position before the first line.

    Raises:
        BadRequest: *last_event_id* is malformed.
    """
    if not last_event_id:
        return Position()
    if not (match := _ID.fullmatch(last_event_id)):
        raise BadRequest("Last-Event-ID is not one that this log has: leave it out to read from the beginning")
    attempt, line = match.groups()
    return Position(int(attempt), 0, is_end=True) if line == "end" else Position(int(attempt), int(line))


def encode_retry(retry: float) -> bytes:
    """The start of a stream: a client that loses the connection reconnects after *retry* seconds."""
    return b"retry: %d\n\n" % (retry * 1000)


def encode_lines(lines: Lines, after: Position) -> bytes:
    """The events of those *lines* that come after *after*; may be empty.

    Invalid UTF-8 and NUL become U+FFFD. A line with carriage returns becomes an event with several data lines.
    """
    skipped = after.line + 1 - lines.first if after.attempt == lines.attempt else 0
    events = _encode(lines)
    return b"\n\n".join(events.split(b"\n\n")[skipped:]) if skipped > 0 else events


@lru_cache(128)  # all clients of a build get the same events
def _encode(lines: Lines) -> bytes:
    text = lines.content.decode(errors="replace").replace("\0", "\ufffd").replace("\r\n", "\n")
    numbered = enumerate(text.removesuffix("\n").split("\n"), lines.first)
    events = "".join(f"id: {lines.attempt}-{number}\ndata: {line}\n\n" for number, line in numbered)
    return events.replace("\r", "\ndata: ").encode()


def encode_gap(after: Position, lines: Lines) -> bytes:
    """The events between *after* and *lines* when they are not consecutive; otherwise empty.

    `restart` means that another attempt has started; `gap` means that lines were not streamed.
    """
    events, line = b"", after.line
    if lines.attempt != after.attempt:
        events, line = _event("restart", {"attempt": lines.attempt}) if after.attempt else b"", 0
    if lines.first > line + 1:
        events += _event("gap", {"attempt": lines.attempt, "from": line + 1, "to": lines.first - 1})
    return events


def encode_end(attempt: int, end: BuildEnd) -> bytes:
    """The last event of a build."""
    return b"id: %d-end\n" % attempt + _event("end", end)


def _event(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
