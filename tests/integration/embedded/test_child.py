"""One process and its end."""

import os
from pathlib import Path

import pytest
from msgspec import structs

from swell_embedded.errors import ChildDied
from swell_embedded.processes.child import Child
from swell_embedded.processes.program import Program
from tests.integration.embedded.processes import descendants, gone


async def _at_once() -> None: ...


async def _never() -> None:
    raise ConnectionRefusedError


def shell(script: str, *, ready: bool = True) -> Program:
    probe = _at_once if ready else _never
    return Program(name="it", command=("sh", "-c", script), environment=dict(os.environ), ready=probe, grace=0.2)


async def test_a_program_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    """Stopping takes a bounded time and leaves no process."""
    child = await Child.start(shell("trap '' TERM; sleep 1000 & sleep 1000; sleep 1000"), tmp_path)
    family = {child.pid} | descendants(child.pid)

    await child.stop()

    assert not await gone(family)


async def test_leftover_files_are_removed(tmp_path: Path) -> None:
    """Many starts and stops leave no files behind."""
    forgotten = tmp_path / "socket"
    child = await Child.start(structs.replace(shell(f"echo > {forgotten}"), leaves=(forgotten,)), tmp_path)
    with pytest.raises(ChildDied):
        await child.wait_for_end()

    assert not forgotten.exists()


async def test_an_early_end_is_reported_with_its_code_and_last_lines(tmp_path: Path) -> None:
    """The reason is in the terminal, not only in a file."""
    child = await Child.start(shell("echo 'no such database'; exit 3", ready=False), tmp_path)

    with pytest.raises(ChildDied, match=r"it ended with exit code 3; its last lines:\n +no such database"):
        await child.ready()


async def test_an_endless_line_does_not_stop_the_log(tmp_path: Path) -> None:
    """Any output is read, and memory stays bounded."""
    child = await Child.start(shell("head -c 5000000 /dev/zero | tr '\\0' x; echo; echo after"), tmp_path)

    with pytest.raises(ChildDied, match="exit code 0"):
        await child.wait_for_end()

    lines = (tmp_path / "it.log").read_text().splitlines()
    assert lines[-1] == "after"
    assert max(map(len, lines)) <= 1 << 20


async def test_a_log_file_is_rotated(tmp_path: Path) -> None:
    """A stack may run for months: the log has ten MiB and one older file."""
    child = await Child.start(shell("yes $(head -c 9999 /dev/zero | tr '\\0' x) | head -c 25000000"), tmp_path)

    with pytest.raises(ChildDied, match="exit code 0"):
        await child.wait_for_end()

    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(tmp_path)}
    assert sizes.keys() == {"it.log", "it.log.1"}
    assert max(sizes.values()) <= 10 << 20
