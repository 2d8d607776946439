"""Why a build failed: the error, and what engines' output has in common."""

import re
from collections.abc import Callable, Sequence
from typing import Self

from builder.domain.cause import shorten, with_cause
from swell.errors import BuildFailed
from swell.store.records import Reason

NO_EXIT_STATUS = -1
KILLED = 137
"""The exit status of a process that SIGKILL ended, as shells report it."""

STEP_CHARACTERS = 160
"""Of a step that a message names; its output is more useful."""

_ERROR = re.compile(r"^Error: (.*)$")
_DUMP = re.compile(r"(?: for)? &?[a-z]\w*\.[A-Za-z]\w*\{")  # the beginning of a Go value in a message of buildah


class BuildFailure(BuildFailed):
    """The build ended without an image.

    `exit_status` is that of the step that failed, else the engine's own; -1 when nothing ended by itself. `output` are
    the last lines of that step, which may contain secrets: `explained` masks them and adds the cause to the message.
    `is_temporary`: it is a push that may succeed later, because the registry failed and did not refuse the image.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        exit_status: int = NO_EXIT_STATUS,
        *,
        output: str = "",
        is_temporary: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.exit_status = exit_status
        self.output = output
        self.is_temporary = is_temporary

    def explained(self, mask: Callable[[str], str]) -> Self:
        """Return the failure with its cause in the message, and without secrets; *mask* masks them in a text."""
        return type(self)(self.reason, with_cause(mask(str(self)), mask(self.output)), self.exit_status)


def last_error(lines: Sequence[str]) -> str:
    """Return the text of the last line that begins with `Error: `; empty if no line does."""
    return next((without_dumps(match[1]) for line in reversed(lines) if (match := _ERROR.match(line))), "")


def name_step(step: str) -> str:
    """Return the words for a step of a container file in a message."""
    return f"The step '{shorten(' '.join(step.split()), STEP_CHARACTERS)}'"


def without_dumps(text: str) -> str:
    """Return *text* without the Go values, such as `copier.request{…}`, that engines write into their messages."""
    while match := _DUMP.search(text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        text = text[: match.start()] + text[end:]
    return text


def contains(lines: Sequence[str], text: str) -> bool:
    """Whether a line contains *text*, which is in small letters; the case of the line does not matter."""
    return any(text in line.lower() for line in lines)
