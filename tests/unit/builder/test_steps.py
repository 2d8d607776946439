"""A builder runs one real step at its start, and says why if it cannot."""

import os
import subprocess
from pathlib import Path

import pytest

from builder.domain.failure import BuildFailure
from builder.domain.trial import program
from builder.steps import Steps
from swell.errors import Unavailable
from swell.store.records import Reason


class Engine:
    fails = ""

    async def run_step(self) -> None:
        if self.fails:
            raise BuildFailure(Reason.ENGINE, self.fails)


async def test_a_builder_is_not_ready_before_its_first_step() -> None:
    """Nothing is assumed."""
    with pytest.raises(Unavailable, match="no build step has run yet"):
        await Steps(Engine()).check()


async def test_the_reason_is_that_of_the_step() -> None:
    """With Docker's default seccomp profile, every RUN fails; the operator reads what the runtime says."""
    engine = Engine()
    engine.fails = "runc: operation not permitted"
    steps = Steps(engine)
    await steps.try_one()
    with pytest.raises(Unavailable, match="runc: operation not permitted"):
        await steps.check()

    engine.fails = ""
    await steps.try_one()
    await steps.check()


@pytest.mark.parametrize(("machine", "kind"), [("x86_64", 62), ("aarch64", 183)])
def test_the_program_is_an_executable_of_its_machine(machine: str, kind: int) -> None:
    """Its header has the number of the machine; its only segment is as long as the file."""
    content = program(machine)

    assert content is not None
    assert content[:4] == b"\x7fELF"
    assert int.from_bytes(content[18:20], "little") == kind
    assert int.from_bytes(content[96:104], "little") == len(content)


def test_the_program_runs_here(tmp_path: Path) -> None:
    """It ends with status 0 on a machine that it exists for."""
    content = program(os.uname().machine)
    assert content is not None, "add a program for this machine"
    path = tmp_path / "step"
    path.write_bytes(content)
    path.chmod(0o755)

    assert subprocess.run([path], check=False, timeout=30).returncode == 0


def test_other_machines_have_no_program() -> None:
    """There the builder starts without a trial."""
    assert program("riscv64") is None
