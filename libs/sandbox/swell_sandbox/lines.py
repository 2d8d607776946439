"""Lines of a program's output, in bounded memory."""

import re

LONGEST_PIECE = 16 * 1024

_COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")


def plain(line: bytes) -> bytes:
    """*line* without ANSI colour codes (`ESC[…m`); everything else stays, be it text or not."""
    return _COLOUR.sub(b"", line)


class Lines:
    """Cuts chunks of bytes into lines; a line longer than `LONGEST_PIECE` comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that *chunk* completes, without their newlines, and the full pieces of the one it leaves open."""
        *whole, rest = (self._rest + chunk).split(b"\n")
        *full, self._rest = pieces(rest)
        return [piece for line in whole for piece in pieces(line)] + full

    def end(self) -> list[bytes]:
        """What the output ended with, if not with a newline."""
        return [self._rest] if self._rest else []


def pieces(line: bytes) -> list[bytes]:
    """*line*, cut where it is longer than `LONGEST_PIECE`."""
    return [line[start : start + LONGEST_PIECE] for start in range(0, len(line) or 1, LONGEST_PIECE)]
