"""A build's log as server-sent events: each line an event, the end of the build the last one.

An event's id is `<attempt>-<line>`; lines are numbered from 1 in each attempt, in the stream as in the log that is
kept, so a watcher goes on where it was whatever has become of the build meanwhile. The last id is `<attempt>-end`.

Source: WHATWG HTML, 9.2 Server-sent events.
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
    """The last line that a watcher has, of which attempt; before the first it has none of either."""

    attempt: int = 0
    line: int = 0
    is_end: bool = False


class Lines(Struct, frozen=True):
    """Whole lines of an attempt, each with its line feed; `first` is the number of the first one."""

    attempt: int
    first: int
    content: bytes

    @property
    def last(self) -> Position:
        return Position(self.attempt, self.first - 1 + self.content.count(b"\n"))


def parse_position(last_event_id: str) -> Position:
    """Read the id of the last event that a client has; an empty one is that of no event.

    Raises:
        BadRequest: it is none of ours.
    """
    if not last_event_id:
        return Position()
    if not (found := _ID.fullmatch(last_event_id)):
        raise BadRequest("Last-Event-ID is not one that this log has: leave it out to read from the beginning")
    attempt, line = found.groups()
    return Position(int(attempt), 0, is_end=True) if line == "end" else Position(int(attempt), int(line))


def begun(retry: float) -> bytes:
    """What a stream begins with; a client that loses it comes again after *retry* seconds."""
    return b"retry: %d\n\n" % (retry * 1000)


def encode(lines: Lines, after: Position) -> bytes:
    """The events of *lines* that come behind *after*; empty when there are none.

    What is no UTF-8, and NUL, is U+FFFD; an event of a line with carriage returns has several lines.
    """
    known = after.line + 1 - lines.first if after.attempt == lines.attempt else 0
    whole = _encode(lines)
    return b"\n\n".join(whole.split(b"\n\n")[known:]) if known > 0 else whole


@lru_cache(128)  # the same for all who watch
def _encode(lines: Lines) -> bytes:
    text = lines.content.decode(errors="replace").replace("\0", "\ufffd").replace("\r\n", "\n")
    each = enumerate(text.removesuffix("\n").split("\n"), lines.first)
    told = "".join(f"id: {lines.attempt}-{number}\ndata: {line}\n\n" for number, line in each)
    return told.replace("\r", "\ndata: ").encode()


def missing(after: Position, lines: Lines) -> bytes:
    """What tells a watcher who has *after* and gets *lines* that there is something between: another attempt has begun,
    or lines were not streamed. Nothing when they follow each other."""
    told, line = b"", after.line
    if lines.attempt != after.attempt:
        told, line = _event("restart", {"attempt": lines.attempt}) if after.attempt else b"", 0
    if lines.first > line + 1:
        told += _event("gap", {"attempt": lines.attempt, "from": line + 1, "to": lines.first - 1})
    return told


def ended(attempt: int, end: BuildEnd) -> bytes:
    """The last event; whoever has it and comes again is told that there is no more."""
    return b"id: %d-end\n" % attempt + _event("end", end)


def _event(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
