"""The short form of `make compose-test`: docker-compose.yml on a real Docker daemon, without building images."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.timeout(600)
def test_compose_starts_swell_and_leaves_nothing(tmp_path: Path) -> None:
    """All containers become healthy, in their order; an image is built and pulled; then all of it is removed."""
    if os.geteuid() or not shutil.which("dockerd"):
        pytest.skip("Docker daemons cannot be started here")
    command = ["deploy/testing/alone.sh", sys.executable, "-m", "tests.short_compose", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=590, check=False)

    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
