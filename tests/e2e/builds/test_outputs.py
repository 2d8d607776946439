"""Unusual build output is stored and bounded, and contains no secret of the server."""

import re
from base64 import b64encode
from pathlib import Path

import pytest

from swell_embedded.stack import Stack
from tests.e2e.client import Swell, until
from tests.e2e.upstreams import PASSWORD, USER, Upstreams
from tests.e2e.watching import watching

MEBIBYTE = 1 << 20
LIMIT = 64 * MEBIBYTE


def resident(pid: int) -> int:
    """Return the largest resident memory that a process has had, in bytes."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) << 10


async def test_output_that_is_not_text_is_stored_unchanged_and_streamed_as_text(
    swell: Swell, upstreams: Upstreams
) -> None:
    """The output has NUL, broken UTF-8 and carriage returns. The stored log has the same bytes; the stream is valid
    text.
    """
    step = r"printf 'nul \000 broken \377\376 half \303\n10%%\r100%%\n'"
    build_id = (await swell.build(f"FROM {upstreams.image()}\nRUN {step}\n"))["buildId"]
    async with watching(swell, build_id) as watcher:
        events = await watcher.end()

    assert events[-1].name == "end"
    log = await swell.bytes(f"/v1alpha1/builds/{build_id}/logs")
    assert b"nul \0 broken \xff\xfe half \xc3\n" in log
    assert b"10%\r100%\n" in log
    assert any(line.endswith("nul \ufffd broken \ufffd\ufffd half \ufffd") for line in watcher.lines)
    assert any(line.endswith("10%\n100%") for line in watcher.lines)


async def test_a_line_of_ten_megabytes_is_split(swell: Swell, upstreams: Upstreams) -> None:
    """Messages of the log stream are small; a long line must not be lost."""
    step = f"head -c {10 * MEBIBYTE} /dev/zero | tr '\\0' y; echo; echo after"
    build_id = (await swell.build(f"FROM {upstreams.image()}\nRUN {step}\n"))["buildId"]
    async with watching(swell, build_id) as watcher:
        await watcher.end()

    log = await swell.bytes(f"/v1alpha1/builds/{build_id}/logs")
    assert log.count(b"y" * 100) >= 10 * MEBIBYTE // 100 - 700
    assert max(map(len, log.splitlines())) == 16 << 10
    assert "\n".join(watcher.lines) + "\n" == log.decode()


@pytest.mark.timeout(600)
async def test_a_log_of_a_gigabyte_is_shortened(stack: Stack, swell: Swell, upstreams: Upstreams) -> None:
    """Its beginning and end are stored, the build finishes, and the builder's memory does not grow."""
    step = f"head -c {1024 * MEBIBYTE} /dev/zero | tr '\\0' x; echo; echo the end $((20 + 1))"
    build_id = (await swell.build(f"FROM {upstreams.image()}\nRUN {step}\n"))["buildId"]

    async def ended() -> bool:
        return bool((await swell.build_status(build_id))["status"] == "COMPLETED")

    await until(ended, seconds=400)
    assert (await swell.build_status(build_id))["succeeded"]
    log = await swell.bytes(f"/v1alpha1/builds/{build_id}/logs")
    assert LIMIT < len(log) < LIMIT + MEBIBYTE
    assert b"longer than the %d bytes that are stored" % LIMIT in log
    match = re.search(rb"\((\d+) lines with (\d+) bytes are left out here\)", log)
    assert match
    assert int(match[2]) + len(log) <= 1025 * MEBIBYTE  # BuildKit cuts the output of a step at 72 MiB
    assert b"output clipped" in log or b"\nthe end 21\n" in log
    assert resident(stack.pid("builder")) < 300 * MEBIBYTE


async def test_credentials_of_the_builder_are_masked(swell: Swell, upstreams: Upstreams) -> None:
    """They are masked in the container file, in the output of steps and inside base64, in the stream and in the stored
    log.
    """
    coded = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    steps = [f"echo '{PASSWORD}'", f"echo '{coded}'", f"printf 'xx{PASSWORD}yy' | base64", f"printf '{coded}' | base64"]
    lines = "".join(f"RUN {step}\n" for step in steps)
    build_id = (await swell.build(f"FROM {upstreams.image()}\n{lines}"))["buildId"]
    async with watching(swell, build_id) as watcher:
        await watcher.end()

    log = await swell.log(build_id)
    assert watcher.text + "\n" == log
    assert log.count("***") >= 6
    for secret in (PASSWORD, coded, b64encode(f"xx{PASSWORD}yy".encode()).decode(), b64encode(coded.encode()).decode()):
        assert secret not in log
