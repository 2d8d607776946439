"""The standard output and the standard error of a process: two pipes, and yet lines in a reliable order."""

import asyncio
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from swell_sandbox.lines import Lines, OnLine

_MOST = 1 << 20  # bytes that are read at once; the kernel allows no larger pipe without privileges


class TwoOutputs:
    """Two pipes, for `start`. A context manager, which closes them.

    Source: pipe(7), https://man7.org/linux/man-pages/man7/pipe.7.html
    """

    def __enter__(self) -> Self:
        self.stdout, self.write_stdout = os.pipe()
        self.stderr, self.write_stderr = os.pipe()
        self._open = {self.stdout, self.write_stdout, self.stderr, self.write_stderr}
        for each in (self.stdout, self.stderr):
            os.set_blocking(each, False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(*self._open)

    def close_write_ends(self) -> None:
        """Leave these to the process, so that the pipes end with it."""
        self._close(self.write_stdout, self.write_stderr)

    async def read_lines(self, on_line: OnLine, on_error: OnLine) -> None:
        """Pass the lines of standard output to *on_line* and those of standard error to *on_error*, until both end.

        A line of standard output comes before the lines of standard error that were written after it.
        """
        output, errors = Lines(), Lines()
        ended = set[int]()
        while pipes := [each for each in (self.stdout, self.stderr) if each not in ended]:
            await _readable(pipes)
            written_as_error = _read(self.stderr, ended)  # first, so that what was written before can be read now
            for line in output.feed(_read(self.stdout, ended)):
                await on_line(line)
            for line in errors.feed(written_as_error):
                await on_error(line)
        for line in output.end():
            await on_line(line)
        for line in errors.end():
            await on_error(line)

    def _close(self, *descriptors: int) -> None:
        for each in self._open.intersection(descriptors):
            self._open.remove(each)
            os.close(each)


async def _readable(pipes: Sequence[int]) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    for each in pipes:
        loop.add_reader(each, readable.set)
    try:
        await readable.wait()
    finally:
        for each in pipes:
            loop.remove_reader(each)


def _read(pipe: int, ended: set[int]) -> bytes:
    """Return what is in *pipe*; add it to *ended* at its end."""
    if pipe in ended:
        return b""
    try:
        content = os.read(pipe, _MOST)
    except BlockingIOError:
        return b""
    if not content:
        ended.add(pipe)
    return content
