"""A program that runs: its output on its way to a log file, its end never unnoticed, never outliving this process."""

import asyncio
import logging
import os
import signal
import sys
from collections import deque
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from swell.errors import Unavailable
from swell_embedded.errors import CannotStart, ChildDied
from swell_embedded.program import Program

PATIENCE = 60.0  # seconds until a program must be ready
_LOOK = 0.02  # seconds between two looks whether it is ready
_LOG_BYTES = 10 << 20  # of one log file; one older file is kept beside it
_LINE_BYTES = 1 << 20
_TAIL = 12  # lines shown when it died


class Child:
    """A running program, in a process group of its own.

    When this process is killed, the kernel kills the child: it is started by setpriv(1) with a parent-death signal.
    """

    def __init__(self, program: Program, process: asyncio.subprocess.Process, output: logging.Logger) -> None:
        self.name = program.name
        self.pid = process.pid
        self._program = program
        self._process = process
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._output = output
        self._ended = False
        self._copying = asyncio.create_task(self._copy())

    @classmethod
    async def start(cls, program: Program, logs: Path, *, echo: bool = False) -> "Child":
        """Start *program*, its output into the folder *logs*, with *echo* also to this terminal.

        Raises:
            CannotStart: there is no such command.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", "--", *program.command),
                env=program.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                limit=_LINE_BYTES,
            )
        except OSError as error:
            raise CannotStart(f"{program.name} cannot be started: {error}") from error
        return cls(program, process, _output(program.name, logs, echo=echo))

    async def ready(self) -> None:
        """Wait until the program can be used, at most PATIENCE.

        Raises:
            ChildDied: it ended instead, or is not ready by then.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while not await self._is_ready():  # noqa: ASYNC110 - another process has no event to wait for
                    await asyncio.sleep(_LOOK)
        except TimeoutError as error:
            raise ChildDied(f"{self.name} is not ready after {PATIENCE:.0f} s{self._story()}") from error

    async def _is_ready(self) -> bool:
        if self._process.returncode is not None:
            await self.died()
        with suppress(OSError, Unavailable):
            await self._program.ready()
            return True
        return False

    async def died(self) -> None:
        """Wait until the program ends, and raise ChildDied with its exit code and last lines."""
        code = await self._process.wait()
        await self._end()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise ChildDied(f"{self.name} {how}{self._story()}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program itself; nothing happens when it is gone."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(self) -> None:
        """Ask the program to end (SIGTERM), after its grace make it; whoever is left of its group goes too."""
        self.send(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), self._program.grace)
        await self._end()

    async def _end(self) -> None:
        """Kill what is left of the process group, remove what it leaves, and write its last lines."""
        if not self._ended:  # only once: afterwards the number may be someone else's
            self._ended = True
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()
        for path in self._program.leaves:
            path.unlink(missing_ok=True)
        with suppress(TimeoutError):  # someone outside the group may hold the pipe
            await asyncio.wait_for(self._copying, 1)

    async def _copy(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was started with a pipe
        try:
            while line := await _line(self._process.stdout):
                text = line.decode(errors="replace").rstrip("\r\n")
                self._tail.append(text)
                self._output.info("%s", text)
        finally:
            for handler in self._output.handlers:
                handler.close()

    def _story(self) -> str:
        return "; its last lines:\n" + "\n".join(f"    {line}" for line in self._tail) if self._tail else ""


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than _LINE_BYTES; the reader has dropped it
        return b"(a line of more than a mebibyte)\n"


def _output(name: str, logs: Path, *, echo: bool) -> logging.Logger:
    """A logger nobody else sees, not even logging's own registry: lines to the file, with *echo* to stdout as well."""
    output = logging.Logger(name)
    to_file = RotatingFileHandler(logs / f"{name}.log", maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    output.addHandler(to_file)
    if echo:
        to_terminal = logging.StreamHandler(sys.stdout)
        to_terminal.setFormatter(logging.Formatter("%(name)-14s | %(message)s"))
        output.addHandler(to_terminal)
    return output
