"""Runs commands in their own PID and mount namespaces, so that no process or mount is left behind.

The command is the first process of its PID namespace: when it ends, the kernel kills all others there. It also ends
with this process, even after SIGKILL, because `setpriv` and `unshare` set the parent-death signal.

Source: pid_namespaces(7), https://man7.org/linux/man-pages/man7/pid_namespaces.7.html
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from swell_sandbox import no_sync
from swell_sandbox.lines import Lines, OnLine, plain
from swell_sandbox.two_outputs import TwoOutputs

_END_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
_WITHOUT_SYNC = (sys.executable, "-I", "-S", no_sync.__file__)
_OWN_PIDS = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
_ENTER_CGROUPS = (
    'for group in $SANDBOX_CGROUPS; do echo 0 > "$group/cgroup.procs"; done; unset SANDBOX_CGROUPS; exec "$@"'
)
_CHUNK = 64 * 1024
_END_WITHIN = 30.0


class Tail:
    """Passes lines on, without colours, and stores the last ones for error messages."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self.lines: deque[bytes] = deque(maxlen=50)

    async def __call__(self, line: bytes) -> None:
        clean = plain(line)
        self.lines.append(clean)
        await self._on_line(clean)


@asynccontextmanager
async def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    mount_namespace: int,
    network: Path | None = None,
    cgroups: Sequence[Path] = (),
    is_synced: bool = True,
    outputs: TwoOutputs | None = None,
) -> AsyncIterator[Process]:
    """Run *command* for the length of the block, then kill it with all its descendants.

    If not *is_synced*, fsync and similar calls succeed at once, for programs whose files do not outlive this machine.

    It runs in the namespaces *mount_namespace* (an open file) and *network*, if any, and in *cgroups*. `stdout` and
    `stderr` are one pipe, or *outputs*.

    Raises:
        OSError: a program is missing.
    """
    enter_cgroups = ("sh", "-ec", _ENTER_CGROUPS, "sh") if cgroups else ()
    namespaces = (f"--mount=/proc/{os.getpid()}/fd/{mount_namespace}", *((f"--net={network}",) if network else ()))
    process = await asyncio.create_subprocess_exec(
        *_END_WITH_PARENT,
        *(() if is_synced else _WITHOUT_SYNC),
        *enter_cgroups,
        "nsenter",
        *namespaces,
        "--",
        *_OWN_PIDS,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=outputs.write_stdout if outputs else asyncio.subprocess.PIPE,
        stderr=outputs.write_stderr if outputs else asyncio.subprocess.STDOUT,
        env={**environment, **({"SANDBOX_CGROUPS": " ".join(map(str, cgroups))} if cgroups else {})},
    )
    if outputs:
        outputs.close_write_ends()
    try:
        yield process
    finally:
        await _end(process)


async def read_lines(process: Process, on_line: OnLine) -> None:
    """Pass the output of *process* to *on_line*, line by line, until it ends."""
    assert process.stdout is not None  # noqa: S101  (PIPE, above)
    lines = Lines()
    while chunk := await process.stdout.read(_CHUNK):
        for line in lines.feed(chunk):
            await on_line(line)
    for line in lines.end():
        await on_line(line)


async def _end(process: Process) -> None:
    # Kill the first process of the namespace, not `unshare`: it is reaped last, so that `unshare` waits for all others.
    if process.returncode is not None:
        return
    for pid in children(process.pid) or [process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(process.wait(), _END_WITHIN)


def children(pid: int) -> list[int]:
    """Return the children of the process *pid*; of a process of `start`, the first process of its namespace."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
