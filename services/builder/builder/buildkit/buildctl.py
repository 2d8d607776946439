"""buildctl, the client of buildkitd, with the credentials and secrets of one build."""

import asyncio
import io
import os
import tarfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from swell_sandbox.process import children

# Files come through stdin, as a tar archive, into a file system in memory that only this process sees.
_WITH_FILES = """\
mount -t tmpfs -o size=4m,mode=700 tmpfs "$DOCKER_CONFIG"
tar -x -f - -C "$DOCKER_CONFIG" --no-same-owner
exec "$@" < /dev/null
"""


@asynccontextmanager
async def buildctl(
    command: Sequence[str],
    folder: str,
    files: Mapping[str, bytes],
    *,
    enter: Sequence[str] = (),
    environment: Mapping[str, str] = {},
) -> AsyncIterator[Process]:
    """Run *command*, the path of buildctl and its arguments, for the length of the block; then kill it.

    It sees *files* in *folder*, an empty directory; `config.json` has its logins. *enter* is a command that enters the
    namespaces and groups in which it runs. `stdout` and `stderr` are one pipe.
    """
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *enter,
        *("unshare", "--mount", "--", "sh", "-ec", _WITH_FILES, "sh"),
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ.get("PATH", os.defpath), "DOCKER_CONFIG": folder, **environment},
        cwd="/",
    )
    try:
        assert process.stdin is not None  # noqa: S101  (a pipe)
        with suppress(OSError):
            process.stdin.write(_archive(files))
            await process.stdin.drain()
            process.stdin.close()
        yield process
    finally:
        if process.returncode is None:
            for pid in children(process.pid) or [process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _archive(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o400
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()
