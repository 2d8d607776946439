"""Lock files: builds of packages print what they installed, between two lines of marks."""

START, END = b">> CONDA_LOCK_START", b"<< CONDA_LOCK_END"
LONGEST = 4 << 20  # bytes


class LockCutter:
    """Cuts lock files out of a build's output, line by line; the last one stays in `lock`.

    A mark is a line of its own: when the engine repeats a command that prints one, that is none. What begins and does
    not end, or is longer than `LONGEST`, is output like any other.
    """

    def __init__(self) -> None:
        self.lock: bytes | None = None
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, line: bytes) -> list[bytes]:
        """The lines of output that are known as such now that *line* is there."""
        if line.strip() == START:
            return self._hold(line)
        if not self._held:
            return [line]
        if line.strip() == END:
            self.lock = b"".join(held + b"\n" for held in self._held[1:])
            self._held.clear()
            return []
        self._held.append(line)
        self._size += len(line)
        return self.end() if self._size > LONGEST else []

    def end(self) -> list[bytes]:
        """The lines held back for a lock file that has not come to its end."""
        released, self._held = self._held, []
        return released

    def _hold(self, mark: bytes) -> list[bytes]:
        released = self.end()
        self._held, self._size = [mark], 0
        return released
