"""The container file of the images, without a Docker daemon; tests/e2e/test_compose.py builds and runs it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_hadolint_finds_nothing() -> None:
    """Each rule that the file does not follow is named in it, with the reason."""
    command = (str(Path(sys.executable).parent / "hadolint"), "--no-color", str(ROOT / "deploy/images/Dockerfile"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
