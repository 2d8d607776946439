"""buildctl, the client of buildkitd, with the credentials and secrets of one build.

Namespaces and control groups take longer to enter than a small build has to spare. So a process may be started in
advance: it enters them, and waits on its standard input for the command line and the files.
"""

import asyncio
import io
import os
import shlex
import tarfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from swell_sandbox.process import children

# Files come through stdin, as a tar archive, into a file system in memory that only this process sees. The line before
# it is read by the shell itself, which needs less memory than a waiting tar.
_WITH_FILES = """\
mount -t tmpfs -o size=8m,mode=700 tmpfs "$DOCKER_CONFIG"
read -r _
tar -x -f - -C "$DOCKER_CONFIG" --no-same-owner
. "$DOCKER_CONFIG/command"
"""
_END_WITHIN = 5.0


async def start_waiting(folder: str, *, enter: Sequence[str] = (), environment: Mapping[str, str] = {}) -> Process:
    """Start a process that waits for `send_command`, or for the end of this process.

    It will see its files in *folder*, an empty directory. *enter* is a command that enters the namespaces and groups in
    which it runs. `stdout` and `stderr` are one pipe.
    """
    return await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *enter,
        *("unshare", "--mount", "--", "sh", "-ec", _WITH_FILES),
        stdin=PIPE,
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ.get("PATH", os.defpath), "DOCKER_CONFIG": folder, **environment},
        cwd="/",
    )


async def send_command(process: Process, command: Sequence[str], files: Mapping[str, bytes]) -> None:
    """Have the waiting *process* run *command*, the path of buildctl and its arguments.

    It sees *files* in the folder of the process; `config.json` has its logins.
    """
    assert process.stdin is not None  # noqa: S101  (a pipe)
    script = f"exec {shlex.join(command)} < /dev/null\n".encode(errors="surrogateescape")
    with suppress(OSError):
        process.stdin.write(b"\n" + _archive({**files, "command": script}))
        await process.stdin.drain()
        process.stdin.close()


async def end_soon(process: Process) -> None:
    """Wait for the end of *process*, whose output does not matter any more; kill it after 5 s."""
    try:
        async with asyncio.timeout(_END_WITHIN):
            await process.communicate()
    except TimeoutError:
        pass
    finally:
        await end(process)


async def end(process: Process) -> None:
    """Kill *process* and wait for its end."""
    if process.returncode is None:
        for pid in children(process.pid) or [process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def buildctl(command: Sequence[str], folder: str, files: Mapping[str, bytes]) -> AsyncIterator[Process]:
    """Run *command* on this machine, for the length of the block, then kill it; *files* are in *folder*."""
    process = await start_waiting(folder)
    try:
        await send_command(process, command, files)
        yield process
    finally:
        await end(process)


def _archive(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o400
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()
