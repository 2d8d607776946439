"""Standard output and standard error of a process: each line once, and in an order that can be relied upon."""

import asyncio
import os
import sys
from pathlib import Path

from swell_sandbox.two_outputs import TwoOutputs

Said = list[tuple[str, bytes]]


async def read(outputs: TwoOutputs) -> Said:
    """All lines, each with the name of its stream."""
    said: Said = []

    async def output(line: bytes) -> None:
        said.append(("out", line))

    async def error(line: bytes) -> None:
        said.append(("err", line))

    async with asyncio.timeout(60):
        await outputs.read_lines(output, error)
    return said


async def said_by(outputs: TwoOutputs, *command: str) -> Said:
    """All lines of a process that runs *command*."""
    process = await asyncio.create_subprocess_exec(*command, stdout=outputs.write_stdout, stderr=outputs.write_stderr)
    outputs.close_write_ends()
    said = await read(outputs)
    assert await process.wait() == 0
    return said


async def test_an_error_comes_after_what_was_written_before_it() -> None:
    """A step begins before it fails: both lines can be read at once, and the second one belongs to the first."""
    for _ in range(100):
        with TwoOutputs() as outputs:
            os.write(outputs.write_stdout, b"STEP 1\n")
            os.write(outputs.write_stderr, b"boom\n")
            outputs.close_write_ends()

            assert await read(outputs) == [("out", b"STEP 1"), ("err", b"boom")]


async def test_lines_arrive_while_the_process_runs() -> None:
    """Also those of one stream when the other one has ended, and a last line without a line feed."""
    program = """if True:
        import os, sys, time
        os.write(1, b"first\\npart"); os.close(1)
        for number in range(3):
            time.sleep(0.02); os.write(2, b"error %d\\n" % number)
        os.write(2, b"end")
    """
    with TwoOutputs() as outputs:
        said = await said_by(outputs, sys.executable, "-c", program)

    assert [line for stream, line in said if stream == "out"] == [b"first", b"part"]
    assert [line for stream, line in said if stream == "err"] == [b"error 0", b"error 1", b"error 2", b"end"]


async def test_much_output_is_read_whole() -> None:
    """More than a pipe holds, while the reader waits for something else."""
    with TwoOutputs() as outputs:
        command = "seq 1 200000; seq 1 50000 >&2"
        said = await said_by(outputs, "sh", "-c", command)

    assert [line for stream, line in said if stream == "out"] == [b"%d" % number for number in range(1, 200001)]
    assert sum(stream == "err" for stream, _ in said) == 50000


def test_nothing_stays_open() -> None:
    """A builder runs thousands of commands."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with TwoOutputs() as outputs:
        outputs.close_write_ends()
    with TwoOutputs():
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
