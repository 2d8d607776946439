"""What happens while an image is made: the events of a build's log, and the state before and after it."""

from typing import Any

import msgspec
from msgspec import Struct

from swell.api.builds import BuildEnd, BuildStep


class LogEvent(Struct, frozen=True, kw_only=True):
    """An event of a log. `id` is the position in the log after which a stream can be resumed; it can be empty."""

    id: str = ""


class LogLine(LogEvent, frozen=True, kw_only=True):
    """One line of the log, without its line feed."""

    text: str


class StepChanged(LogEvent, frozen=True, kw_only=True):
    """The state of a step."""

    step: BuildStep


class Restarted(LogEvent, frozen=True, kw_only=True):
    """The builder crashed; the build starts again."""

    attempt: int


class LinesMissing(LogEvent, frozen=True, kw_only=True):
    """The lines `first` to `last` were not streamed; the text log of the ended build has them."""

    first: int
    last: int


class Ended(LogEvent, frozen=True, kw_only=True):
    """The build has ended; no event follows."""

    end: BuildEnd


class Waiting(Struct, frozen=True):
    """The build is in the queue: 1 is the build that starts next."""

    position: int


class Scanning(Struct, frozen=True):
    """The image exists, and is scanned."""


Event = LogLine | StepChanged | Restarted | LinesMissing | Ended
Progress = Event | Waiting | Scanning


def read_event(name: str, data: str, position: str) -> Event | None:
    """Read a server-sent event; None for kinds that a later server may add.

    Raises:
        msgspec.MsgspecError: the event cannot be read.
    """
    match name:
        case "message":
            return LogLine(id=position, text=data)
        case "step":
            return StepChanged(id=position, step=msgspec.json.decode(data, type=BuildStep))
        case "restart":
            return Restarted(id=position, attempt=msgspec.json.decode(data, type=dict[str, Any])["attempt"])
        case "gap":
            gap = msgspec.json.decode(data, type=dict[str, Any])
            return LinesMissing(id=position, first=gap["from"], last=gap["to"])
        case "end":
            return Ended(id=position, end=msgspec.json.decode(data, type=BuildEnd))
    return None
