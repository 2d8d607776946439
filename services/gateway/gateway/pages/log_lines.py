"""Lines of a log as HTML: each kind of line has a colour. `static/log.js` does the same for the live log.

Builders remove the colours of programs, because a secret with a colour code inside could not be masked: decision 33.
"""

import re

from markupsafe import Markup, escape

_CONTROLS = re.compile(
    r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?"  # escape sequences
    r"|[\x00-\x08\x0b-\x1f\x7f]|[\u202a-\u202e\u2066-\u2069]"  # control characters, those of directions included
)
_KINDS = (
    ("bad", re.compile(r"(?:#\d+ )?(?:[\d.]+ )?(?:ERROR|FAILED|error:|Error:|fatal:|The build failed)|#\d+ CANCELED")),
    ("warn", re.compile(r"(?:#\d+ )?(?:[\d.]+ )?(?:WARN|warning:|Warning:)")),
    ("head", re.compile(r"#\d+ \[|STEP ")),
    ("done", re.compile(r"#\d+ (?:DONE|CACHED)")),
)


def as_html(text: str) -> Markup:
    """The lines of *text*, those of a kind in a span with its class: `bad`, `warn`, `head` or `done`."""
    return Markup("\n").join(map(_line, text.split("\n")))


def _line(line: str) -> Markup:
    shown = _CONTROLS.sub("", line.rstrip("\r").rpartition("\r")[2])  # a progress bar writes its line again
    for kind, pattern in _KINDS:
        if pattern.match(shown):
            return Markup('<span class="{}">{}</span>').format(kind, shown)
    return escape(shown)
