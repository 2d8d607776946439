"""What a browser makes of an event stream.

Source: WHATWG HTML, "Interpreting an event stream",
https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import re

from msgspec import Struct


class Event(Struct, frozen=True):
    """`name` is `message` by default; `id` is the last id in the stream."""

    name: str
    data: str
    id: str


def parse(stream: bytes, last_id: str = "") -> list[Event]:
    """The events of *stream*, which must be UTF-8; an unfinished one at the end is none."""
    events: list[Event] = []
    name, data = "", list[str]()
    for line in re.split("\r\n|\n|\r", stream.decode())[:-1]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "" if not line:
                if data:
                    events.append(Event(name or "message", "\n".join(data), last_id))
                name, data = "", []
            case "event":
                name = value
            case "data":
                data.append(value)
            case "id":
                last_id = last_id if "\0" in value else value
    return events
