"""Run a program with a folder of its own as /tmp, for programs that create files of fixed names there.

The program gets a mount namespace. Without root, it gets a user namespace as well.
Source: unshare(1), https://man7.org/linux/man-pages/man1/unshare.1.html
"""

import subprocess
from functools import cache
from pathlib import Path

from swell_embedded.processes.privileges import Owner

DATA = "/tmp/data"  # noqa: S108 - in the private folder

# The folder may itself be below /tmp, so the program and its data are mounted into it before it covers /tmp.
_MOUNT = """
set -eu
private=$1 data=$2 program=$3
shift 3
inside=$private/$(basename "$program")
mkdir -p "$private/data"
: > "$inside"
mount --rbind "$data" "$private/data"
mount --bind "$program" "$inside"
mount --rbind "$private" /tmp
cd /
exec setpriv --pdeathsig KILL -- "/tmp/$(basename "$program")" "$@"
"""


def command_in(owner: Owner, folder: Path, data: Path, program: str, *arguments: str) -> tuple[str, ...]:
    """Return the command by which *owner* runs *program* with *folder* as its /tmp, and *data* as `DATA`.

    Other files below /tmp are not visible to the program. Its process is the one that is started.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return (*_unshare(owner), "sh", "-c", _MOUNT, "sh", str(folder), str(data), program, *arguments)


@cache
def is_possible(owner: Owner) -> bool:
    """Return whether *owner* may mount folders in a namespace of its own; many containers forbid it."""
    probe = owner.command(*_unshare(owner), "mount", "--rbind", "/var", "/tmp")  # noqa: S108 - in the namespace of the probe
    try:
        return subprocess.run(probe, capture_output=True, check=False, timeout=10).returncode == 0  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False


def _unshare(owner: Owner) -> tuple[str, ...]:
    users = () if owner.is_root else ("--user", "--map-root-user")
    return ("unshare", *users, "--mount", "--propagation", "private", "--")
