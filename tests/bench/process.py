"""Commands that are run to their end, within a time."""

import asyncio
from contextlib import suppress


class CannotMeasure(Exception):
    """A measurement came to nothing; says why."""


async def run(*command: str, within: float = 60) -> bytes:
    """What *command* writes to its standard output.

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
