"""`make mutants` sees whether a test notices a change."""

import subprocess
import sys
from pathlib import Path


def test_a_small_module_is_scored() -> None:
    """Its tests notice most changes, and those that they do not notice are printed with their place."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.mutants", "--workers", "2", "services/gateway/gateway/domain/token.py"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("all ")
    assert int(done.stdout.split()[-2]) > 50
