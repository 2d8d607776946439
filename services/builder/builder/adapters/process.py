"""Processes that leave nothing behind: each command has process ids and mounts of its own.

The command is the first process of its PID namespace, so that the kernel ends all others with it, whatever they did to
escape. It dies with us too, even of kill -9, because `setpriv` and `unshare` ask the kernel for that. Its mounts are
nobody else's and go with it.
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from builder.build import Tell
from builder.domain.output import Lines, plain

_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
_CHUNK = 64 * 1024
_END_WITHIN = 30.0


class Tail:
    """Tells lines on, without colours; keeps the last ones for a diagnosis."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.lines: deque[bytes] = deque(maxlen=50)

    async def __call__(self, line: bytes) -> None:
        clean = plain(line)
        self.lines.append(clean)
        await self._tell(clean)


async def run(
    command: Sequence[str], *, environment: Mapping[str, str], directory: Path, tell: Tell, network: Path | None = None
) -> int:
    """Run *command* until it and all its descendants have ended; the exit status, negative for a signal.

    stdout and stderr are told together, line by line. Cancelling kills, and returns when nothing is left.

    Raises:
        OSError: there is no such program.
    """
    async with started(command, environment=environment, directory=directory, network=network) as process:
        await _tell_all(process, tell)
        return await process.wait()


@asynccontextmanager
async def started(
    command: Sequence[str], *, environment: Mapping[str, str], directory: Path, network: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """*command* for the length of the block, then ended with all its descendants; in the namespace *network*, if any.

    stdout and stderr are one pipe.
    """
    entered = ("nsenter", f"--net={network}", "--") if network else ()
    process = await asyncio.create_subprocess_exec(
        *_WITH_US,
        *entered,
        *_ALONE,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        cwd=directory,
    )
    try:
        yield process
    finally:
        await _end(process)


async def _tell_all(process: asyncio.subprocess.Process, tell: Tell) -> None:
    assert process.stdout is not None  # noqa: S101  (PIPE, above)
    lines = Lines()
    while chunk := await process.stdout.read(_CHUNK):
        for line in lines.feed(chunk):
            await tell(line)
    for line in lines.end():
        await tell(line)


async def _end(process: asyncio.subprocess.Process) -> None:
    # Killing the namespace's first process, not `unshare`: it is reaped last, so `unshare` waits for all the others.
    if process.returncode is not None:
        return
    for pid in children(process.pid) or [process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(process.wait(), _END_WITHIN)


def children(pid: int) -> list[int]:
    """The children of the process *pid*: of a `started` one, the first process of its namespace."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
