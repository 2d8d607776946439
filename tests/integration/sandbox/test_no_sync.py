"""Programs whose fsync succeeds at once, also where it would fail."""

import subprocess
import sys

from swell_sandbox import no_sync

PROGRAM = ("sh", "-c", f"{sys.executable} -c 'import os; os.fsync(999)'")


def test_a_program_and_its_children_sync_nothing() -> None:
    """No file has this number, so the call would fail if it reached the kernel."""
    assert subprocess.run(PROGRAM, stderr=subprocess.DEVNULL, check=False).returncode == 1
    subprocess.run((sys.executable, "-I", "-S", no_sync.__file__, *PROGRAM), check=True)


def test_the_program_gets_its_arguments_and_its_exit_status_is_kept() -> None:
    """The filter adds no process in between."""
    ran = subprocess.run(
        (sys.executable, "-I", "-S", no_sync.__file__, "sh", "-c", 'echo "$1"; exit 7', "sh", "a b"),
        capture_output=True,
        check=False,
    )
    assert (ran.stdout, ran.returncode) == (b"a b\n", 7)
