"""Lock files in logs: builds of packages print the installed packages between two marker lines."""

import re

START, END = b">> CONDA_LOCK_START", b"<< CONDA_LOCK_END"
LONGEST = 4 << 20  # bytes

_PREFIX = re.compile(rb"(#\d+) \d+\.\d{3} ")
"""BuildKit's prefix of a line: the number of the step, and seconds."""


class LockCutter:
    """Cuts lock files out of the output of a build; the last one is in `lock`.

    A marker is a whole line, so that a command that contains one is not a marker. A line may begin with the number of
    its step; lines of other steps do not belong to the lock file. A lock file without an end, or longer than `LONGEST`
    bytes, is ordinary output.
    """

    def __init__(self) -> None:
        self.lock: bytes | None = None
        self._step = b""
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, lines: bytes) -> list[bytes]:
        """Add *lines*, one or several with line feeds between them; return the output that can be written now."""
        if not self._held and START not in lines:
            return [lines]
        return [output for line in lines.split(b"\n") for output in self._feed(line)]

    def end(self) -> list[bytes]:
        """Return the lines of a lock file that has no end."""
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

    def _hold(self, marker: bytes, step: bytes) -> list[bytes]:
        released = self.end()
        self._held, self._step, self._size = [marker], step, 0
        return released


def _split(line: bytes) -> tuple[bytes, bytes]:
    """Split *line* into the number of its step, which may be missing, and the text."""
    match = _PREFIX.match(line)
    return (match[1], line[match.end() :]) if match else (b"", line)
