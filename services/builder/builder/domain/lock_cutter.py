"""Lock files: builds of packages print what they installed, between two lines of marks."""

import re

START, END = b">> CONDA_LOCK_START", b"<< CONDA_LOCK_END"
LONGEST = 4 << 20  # bytes

_PREFIX = re.compile(rb"(#\d+) \d+\.\d{3} ")
"""What BuildKit writes before a line of a step: the step's number, and seconds."""


class LockCutter:
    """Cuts lock files out of a build's output; the last one stays in `lock`.

    A mark is a line of its own: when the engine repeats a command that prints one, that is none. A line may begin with
    the number of its step; lines of other steps are not part of the lock file. What begins and does not end, or is
    longer than `LONGEST`, is output like any other.
    """

    def __init__(self) -> None:
        self.lock: bytes | None = None
        self._step = b""
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, lines: bytes) -> list[bytes]:
        """The output that is known as such now that *lines* (one, or several with newlines between them) are there."""
        if not self._held and START not in lines:
            return [lines]
        return [output for line in lines.split(b"\n") for output in self._feed(line)]

    def end(self) -> list[bytes]:
        """The lines held back for a lock file that has not come to its end."""
        released, self._held = self._held, []
        return released

    def _feed(self, line: bytes) -> list[bytes]:
        step, text = _split(line)
        if text.strip() == START:
            return self._hold(line, step)
        if not self._held or step != self._step:
            return [line]
        if text.strip() == END:
            self.lock = b"".join(_split(held)[1] + b"\n" for held in self._held[1:])
            self._held.clear()
            return []
        self._held.append(line)
        self._size += len(line)
        return self.end() if self._size > LONGEST else []

    def _hold(self, mark: bytes, step: bytes) -> list[bytes]:
        released = self.end()
        self._held, self._step, self._size = [mark], step, 0
        return released


def _split(line: bytes) -> tuple[bytes, bytes]:
    """The number of the step, if *line* begins with one, and the text."""
    found = _PREFIX.match(line)
    return (found[1], line[found.end() :]) if found else (b"", line)
