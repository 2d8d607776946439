"""Commands that were renamed are available under their former names until the next release."""

import os
import subprocess
import sys


def _run(module: str, *arguments: str) -> tuple[int, str]:
    environment = os.environ | {"SWELL_NATS_URL": "nats://127.0.0.1:1"}
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout


def test_the_command_for_dead_letters_keeps_its_former_name() -> None:
    """Operators' scripts that call `swell.jobs.dead` go on working."""
    former, current = (_run(module, "--help") for module in ("swell.jobs.dead", "swell.jobs.dead_letters"))
    assert former == current
    assert current[0] == 0
    assert "replay" in current[1]
