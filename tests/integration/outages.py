"""Outages of real backends: a server loses its data, or stops answering for a while."""

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
        yield
    finally:
        stack.kill(name, Signals.SIGCONT)
