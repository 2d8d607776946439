"""A child process: its output goes to a log file, its end is reported, and it never outlives this process."""

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
from swell_embedded.processes.privileges import Owner
from swell_embedded.processes.program import Program

READY_TIMEOUT = 60.0  # seconds until a program must be ready
_POLL_INTERVAL = 0.02  # seconds between two readiness probes
_LOG_BYTES = 10 << 20  # of one log file; one older file is kept
_LINE_BYTES = 1 << 20
_TAIL = 12  # last lines in the message when the program ends


class Child:
    """A running program, in a process group of its own.

    The child starts through setpriv(1) with a parent-death signal: if this process is killed, the kernel kills it.
    """

    def __init__(self, program: Program, process: asyncio.subprocess.Process, output: logging.Logger) -> None:
        self.name = program.name
        self.pid = process.pid
        self._program = program
        self._process = process
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._output = output
        self._ended = False
        self._copying = asyncio.create_task(self._copy())  # no group: `_end` awaits it

    @classmethod
    async def start(cls, program: Program, logs: Path, *, owner: Owner | None = None, echo: bool = False) -> "Child":
        """Start *program* and log its output in the folder *logs*; with *echo*, also print it.

        It runs as *owner*, by default as this user, unless it needs root.

        Raises:
            CannotStart: the command does not exist or cannot run.
        """
        command = ("setpriv", "--pdeathsig", "KILL", "--", *program.command)  # another user id would clear the signal
        try:
            process = await asyncio.create_subprocess_exec(
                *(command if owner is None or program.as_root else owner.command(*command)),
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
        """Wait until the program is ready, at most 60 s.

        Raises:
            ChildDied: the program ended, or is not ready in time.
        """
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                while not await self._is_ready():  # noqa: ASYNC110 - no event signals that another process is ready
                    await asyncio.sleep(_POLL_INTERVAL)
        except TimeoutError as error:
            raise ChildDied(f"{self.name} is not ready after {READY_TIMEOUT:.0f} s{self._last_lines()}") from error

    async def _is_ready(self) -> bool:
        if self._process.returncode is not None:
            await self.wait_for_end()
        with suppress(OSError, Unavailable):
            await self._program.ready()
            return True
        return False

    async def wait_for_end(self) -> None:
        """Wait until the program ends.

        Raises:
            ChildDied: always; the message has the exit code and the last lines of output.
        """
        code = await self._process.wait()
        await self._end()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise ChildDied(f"{self.name} {how}{self._last_lines()}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program; do nothing if it has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(self) -> None:
        """Send SIGTERM, wait for the program's grace period, and then kill its process group."""
        self.send(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), self._program.grace)
        await self._end()

    async def _end(self) -> None:
        """Kill the rest of the process group, remove leftover files, and log the last lines."""
        if not self._ended:  # only once: afterwards another process may have the id
            self._ended = True
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()
        for path in self._program.leaves:
            path.unlink(missing_ok=True)
        with suppress(TimeoutError):  # a process outside the group may hold the pipe open
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

    def _last_lines(self) -> str:
        return "; its last lines:\n" + "\n".join(f"    {line}" for line in self._tail) if self._tail else ""


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than _LINE_BYTES; the reader has dropped it
        return b"(a line of more than a mebibyte)\n"


def _output(name: str, logs: Path, *, echo: bool) -> logging.Logger:
    """Return a private logger, not in logging's registry: to the file, and with *echo* also to stdout."""
    output = logging.Logger(name)
    to_file = RotatingFileHandler(logs / f"{name}.log", maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    output.addHandler(to_file)
    if echo:
        to_terminal = logging.StreamHandler(sys.stdout)
        to_terminal.setFormatter(logging.Formatter("%(name)-14s | %(message)s"))
        output.addHandler(to_terminal)
    return output
