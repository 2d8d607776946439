"""Lines of a program's output, in bounded memory."""

import re
from collections.abc import Awaitable, Callable

OnLine = Callable[[bytes], Awaitable[None]]

LONGEST_PIECE = 16 * 1024

_COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")


def plain(line: bytes) -> bytes:
    """Return *line* without ANSI colour codes (`ESC[…m`). The rest is unchanged and may be binary."""
    return _COLOUR.sub(b"", line)


class Lines:
    """Splits chunks of bytes into lines; a line longer than `LONGEST_PIECE` is split into pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that *chunk* completes, without line feeds, and the full pieces of an incomplete line."""
        *whole, rest = (self._rest + chunk).split(b"\n")
        *full, self._rest = pieces(rest)
        return [piece for line in whole for piece in pieces(line)] + full

    def end(self) -> list[bytes]:
        """Return the incomplete last line, if any."""
        return [self._rest] if self._rest else []


def pieces(line: bytes) -> list[bytes]:
    """Split *line* into pieces of at most `LONGEST_PIECE` bytes."""
    return [line[start : start + LONGEST_PIECE] for start in range(0, len(line) or 1, LONGEST_PIECE)]
