"""Outages of real backends: a server loses its data, or stops answering for a while."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import Signals

from swell_embedded.stack import Stack
from tests.integration.embedded.processes import gone


async def lose_data(stack: Stack, home: Path, name: str) -> None:
    """Kill the backend *name* of *stack*, delete its data below *home*, and start it again."""
    pid = stack.pid(name)
    stack.kill(name)
    assert not await gone({pid})
    for path in (home / "data" / name).iterdir():
        shutil.rmtree(path)
    await stack.restart(name)


@asynccontextmanager
async def stalled(stack: Stack, name: str) -> AsyncIterator[None]:
    """Stop the process of *name* while the block runs; its connections stay open, and nothing is answered."""
    stack.kill(name, Signals.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            while not _is_stopped(stack.pid(name)):  # noqa: ASYNC110  until then, a thread may still answer
                await asyncio.sleep(0.001)
        yield
    finally:
        stack.kill(name, Signals.SIGCONT)


def _is_stopped(pid: int) -> bool:
    """Whether each thread of the process has stopped; see `state` in proc_pid_stat(5)."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all((each / "stat").read_text().rpartition(")")[2].split()[0] == "T" for each in threads)
