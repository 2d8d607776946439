"""Encode a build log as server-sent events: an event per line and per step, then one event for the end of the build.

The id of a line's event is `<attempt>-<line>`. Lines are numbered from 1 in each attempt, in the stream and in the
stored log alike, so a client can resume at its position at any time. The steps after a line are `<attempt>-<line>.1`,
`.2` and so on. The id of the last event is `<attempt>-end`.

Source: HTML Living Standard, 9.2 "Server-sent events", https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import msgspec
from msgspec import Struct

from swell.api.builds import BuildEnd
from swell.errors import BadRequest
from swell.store.logs import LoggedStep

HEARTBEAT = b": the build goes on\n\n"

_ID = re.compile(r"(\d{1,9})-(?:(\d{1,12})(?:\.(\d{1,9}))?|end)", re.ASCII)


class Position(NamedTuple):
    """The attempt, the number of the last line, and that of the last step after this line that a client has.

    All are 0 before the first line.
    """

    attempt: int = 0
    line: int = 0
    step: int = 0
    is_end: bool = False


class Lines(Struct, frozen=True):
    """Whole lines of an attempt, each with its line feed, and steps in their order.

    `first` is the number of the first line, or of the next one if there are no lines. No step comes after a later line.
    """

    attempt: int
    first: int
    content: bytes
    steps: tuple[LoggedStep, ...] = ()

    @property
    def last(self) -> Position:
        last = Position(self.attempt, self.first - 1 + self.content.count(b"\n"))
        if not self.steps:
            return last
        step = Position(self.attempt, self.steps[-1].line, self.steps[-1].order)
        return max(step, last) if self.content else step

    def after(self, position: Position) -> "Lines":
        """The lines and steps after *position*."""
        if position.attempt != self.attempt:
            return self
        skipped = max(position.line + 1 - self.first, 0)
        steps = tuple(step for step in self.steps if (step.line, step.order) > (position.line, position.step))
        if not skipped and len(steps) == len(self.steps):
            return self
        content = self.content.split(b"\n", skipped)[-1] if skipped < self.content.count(b"\n") else b""
        return Lines(self.attempt, self.first + skipped, content, steps)


def parse_position(last_event_id: str) -> Position:
    """Parse the id of the last event that a client has; an empty id is the position before the first line.

    Raises:
        BadRequest: *last_event_id* is malformed.
    """
    if not last_event_id:
        return Position()
    if not (match := _ID.fullmatch(last_event_id)):
        raise BadRequest("Last-Event-ID is not one that this log has: leave it out to read from the beginning")
    attempt, line, step = match.groups()
    return Position(int(attempt), int(line), int(step or 0)) if line else Position(int(attempt), is_end=True)


def encode_retry(retry: float) -> bytes:
    """The start of a stream: a client that loses the connection reconnects after *retry* seconds."""
    return b"retry: %d\n\n" % (retry * 1000)


class Encoded(NamedTuple):
    """Events, which may be empty, and the position after them."""

    events: bytes
    last: Position


@lru_cache(128)  # all clients of a build get the same events
def encode(lines: Lines, after: Position) -> Encoded:
    """The events of those *lines* and steps that come after *after*, and of what is missing in between."""
    return Encoded(encode_gap(after, lines) + encode_lines(lines, after), max(after, lines.last))


def encode_lines(lines: Lines, after: Position) -> bytes:
    """The events of those *lines* and steps that come after *after*; may be empty.

    Invalid UTF-8 and NUL become U+FFFD. A line with carriage returns becomes an event with several data lines.
    """
    lines = lines.after(after)
    text = lines.content.decode(errors="replace").replace("\0", "\ufffd").replace("\r\n", "\n")
    numbered = list(enumerate(text.removesuffix("\n").split("\n") if text else (), lines.first))
    events, done = [], 0
    for logged in lines.steps:
        before = min(max(logged.line + 1 - lines.first, done), len(numbered))
        events += [_encode_numbered(lines.attempt, numbered[done:before]), _encode_step(lines.attempt, logged)]
        done = before
    return b"".join([*events, _encode_numbered(lines.attempt, numbered[done:])])


def _encode_numbered(attempt: int, numbered: Iterable[tuple[int, str]]) -> bytes:
    events = "".join(f"id: {attempt}-{number}\ndata: {line}\n\n" for number, line in numbered)
    return events.replace("\r", "\ndata: ").encode()


def _encode_step(attempt: int, logged: LoggedStep) -> bytes:
    return b"id: %d-%d.%d\n" % (attempt, logged.line, logged.order) + _event("step", logged.step)


def encode_gap(after: Position, lines: Lines) -> bytes:
    """The events between *after* and *lines* when they are not consecutive; otherwise empty.

    `restart` means that another attempt has started; `gap` means that lines were not streamed. Steps alone have no gap:
    the next lines have it.
    """
    events, line = b"", after.line
    if lines.attempt != after.attempt:
        events, line = _event("restart", {"attempt": lines.attempt}) if after.attempt else b"", 0
    if lines.content and lines.first > line + 1:
        events += _event("gap", {"attempt": lines.attempt, "from": line + 1, "to": lines.first - 1})
    return events


def encode_end(attempt: int, end: BuildEnd) -> bytes:
    """The last event of a build."""
    return b"id: %d-end\n" % attempt + _event("end", end)


def _event(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
