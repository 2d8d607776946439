"""One process and its end."""

import os
from pathlib import Path

import pytest
from msgspec import structs

from swell_embedded.child import Child
from swell_embedded.errors import ChildDied
from swell_embedded.program import Program
from tests.integration.embedded.processes import descendants, gone


async def _at_once() -> None: ...


async def _never() -> None:
    raise ConnectionRefusedError


def shell(script: str, *, ready: bool = True) -> Program:
    probe = _at_once if ready else _never
    return Program(name="it", command=("sh", "-c", script), environment=dict(os.environ), ready=probe, grace=0.2)


async def test_whoever_will_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """Stopping is bounded, and leaves nobody behind."""
    child = await Child.start(shell("trap '' TERM; sleep 1000 & sleep 1000; sleep 1000"), tmp_path)
    family = {child.pid} | descendants(child.pid)

    await child.stop()

    assert not await gone(family)


async def test_what_a_program_forgets_is_removed(tmp_path: Path) -> None:
    """A machine on which many stacks begin and end has no more files then than before."""
    forgotten = tmp_path / "socket"
    child = await Child.start(structs.replace(shell(f"echo > {forgotten}"), leaves=(forgotten,)), tmp_path)
    with pytest.raises(ChildDied):
        await child.died()

    assert not forgotten.exists()


async def test_an_early_end_is_told_with_its_code_and_last_words(tmp_path: Path) -> None:
    """The reason is on the terminal, not only in a file."""
    child = await Child.start(shell("echo 'no such database'; exit 3", ready=False), tmp_path)

    with pytest.raises(ChildDied, match=r"it ended with exit code 3; its last lines:\n +no such database"):
        await child.ready()


async def test_a_line_without_end_does_not_stop_the_log(tmp_path: Path) -> None:
    """Whatever a program writes, its pipe is read on and memory stays bounded."""
    child = await Child.start(shell("head -c 5000000 /dev/zero | tr '\\0' x; echo; echo after"), tmp_path)

    with pytest.raises(ChildDied, match="exit code 0"):
        await child.died()

    lines = (tmp_path / "it.log").read_text().splitlines()
    assert lines[-1] == "after"
    assert max(map(len, lines)) <= 1 << 20


async def test_a_log_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    """A stack may run for months: ten MiB and one older file are kept."""
    child = await Child.start(shell("yes $(head -c 9999 /dev/zero | tr '\\0' x) | head -c 25000000"), tmp_path)

    with pytest.raises(ChildDied, match="exit code 0"):
        await child.died()

    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(tmp_path)}
    assert sizes.keys() == {"it.log", "it.log.1"}
    assert max(sizes.values()) <= 10 << 20
