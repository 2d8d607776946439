"""Commands with a deadline, and the memory of processes."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path


class CannotMeasure(Exception):
    """A measurement failed; the message has the reason."""


async def run(*command: str, within: float = 60) -> bytes:
    """Return the standard output of *command*.

    Raises:
        CannotMeasure: it fails, or takes more than *within* seconds and was killed.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        output, errors = await asyncio.wait_for(process.communicate(), within)
    except TimeoutError as error:
        raise CannotMeasure(f"{command[0]} takes more than {within:.0f} s") from error
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode:
        raise CannotMeasure(f"{command[0]} ended with {process.returncode}: {errors.decode(errors='replace')[-500:]}")
    return output


def resident(process: int) -> float:
    """Return the resident memory of *process* in MB."""
    return _memory(process, "VmRSS")


def peak(process: int | str) -> float:
    """Return the largest resident memory that *process*, an id or `self`, had since it began, in MB.

    `getrusage` would count the memory of the process that started it.
    """
    return _memory(process, "VmHWM")


def _memory(process: int | str, field: str) -> float:
    match = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 / 1e6 if match else 0
