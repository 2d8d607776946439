"""Why a build failed: the error, and what engines' output has in common."""

import re
from collections.abc import Sequence

from swell.errors import BuildFailed
from swell.store.records import Reason

NO_EXIT_STATUS = -1
KILLED = 137
"""The exit status of a process that SIGKILL ended, as shells report it."""

_ERROR = re.compile(r"^Error: (.*)$")
_DUMP = re.compile(r" &imagebuilder\.Step\{.*\}$")  # a Go value that buildah appends


class BuildFailure(BuildFailed):
    """The build ended without an image.

    `exit_status` is that of the step that failed, else the engine's own; -1 when nothing ended by itself.
    """

    def __init__(self, reason: Reason, message: str, exit_status: int = NO_EXIT_STATUS) -> None:
        super().__init__(message)
        self.reason = reason
        self.exit_status = exit_status


def last_error(lines: Sequence[str]) -> str:
    """Return the text of the last line that begins with `Error: `; empty if there is none."""
    return next((_DUMP.sub("", match[1]) for line in reversed(lines) if (match := _ERROR.match(line))), "")


def contains(lines: Sequence[str], text: str) -> bool:
    """Whether a line contains *text*, which is in small letters; the case of the line does not matter."""
    return any(text in line.lower() for line in lines)


def shorten(text: str, longest: int = 300) -> str:
    """Return the first *longest* characters of *text*."""
    return text if len(text) <= longest else text[:longest] + "…"
