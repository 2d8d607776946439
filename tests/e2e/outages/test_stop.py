"""Ctrl-C stops `make up` while the real services work."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from tests.e2e.client import client_of, until
from tests.e2e.environment import of_this_machine
from tests.e2e.upstreams import Upstreams
from tests.integration.embedded.processes import descendants, gone


async def test_ctrl_c_lets_a_short_build_end_and_leaves_no_process(upstreams: Upstreams, tmp_path: Path) -> None:
    """The build is finished, and no process needs to be cleaned up. A umask of 077 changes nothing."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "swell_embedded", "up", "--free-ports"),
        env=of_this_machine() | {"SWELL_HOME": str(tmp_path), "SWELL_ALLOWED_HOSTS": ",".join(upstreams.hosts)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        umask=0o077,
    )
    try:
        url = await _ready(process)
        reading = asyncio.create_task(_read_all(process))
        async with client_of(url) as client:
            build_id = (await client.build(f"FROM {upstreams.image()}\nRUN echo $((20 + 1)) && sleep 3\n"))["buildId"]

            async def begun() -> bool:
                return " 21\n" in (await client.log(build_id)).replace("\n21\n", " 21\n")

            await until(begun)
        family = descendants(process.pid)

        process.send_signal(signal.SIGINT)

        assert await asyncio.wait_for(process.wait(), 90) == 0
        await reading
        assert not await gone(family, seconds=0)
        assert "build ended" in (tmp_path / "logs" / "builder.log").read_text()
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()


async def _ready(process: asyncio.subprocess.Process) -> str:
    """Wait at most 90 s for the line with the address and return the address."""
    assert process.stdout
    async with asyncio.timeout(90):
        async for line in process.stdout:
            if match := re.search(rb"Swell is ready at (\S+)", line):
                return match[1].decode()
    raise AssertionError("it ended before it was ready")


async def _read_all(process: asyncio.subprocess.Process) -> None:
    assert process.stdout
    while await process.stdout.read(1 << 16):
        pass
