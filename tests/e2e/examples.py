"""The shell commands that documents show in their `console` blocks."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commands(page: Path) -> list[str]:
    """Return the commands of *page* in order: lines that begin with `$ `, each with its continuation lines."""
    found: list[str] = []
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        command = ""
        for line in block.splitlines():
            if command:
                command += f"\n{line}"
            elif line.startswith("$ "):
                command = line.removeprefix("$ ")
            if command and _is_complete(command):
                found.append(command)
                command = ""
    return found


def _is_complete(command: str) -> bool:
    """Whether every quote of *command* is closed."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True
