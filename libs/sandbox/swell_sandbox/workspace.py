"""A workspace: a directory with the sandboxes of one process; files of an earlier process are removed."""

import fcntl
import hashlib
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swell.errors import Unavailable
from swell.log import log
from swell_sandbox import cgroups

_CLEAN_WITHIN = 10.0


@contextmanager
def lock(workspace: Path) -> Iterator[None]:
    """Hold the lock of *workspace* for the length of the block; raises `Unavailable` if another process holds it."""
    with (workspace / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(f"another process uses {workspace}") from error
        yield


def can_limit(workspace: Path) -> bool:
    """Whether control groups can be created here; if not, the reason is logged."""
    group = group_prefix(workspace) + "trial"
    try:
        cgroups.make(group, memory=1 << 20, pids=1)
    except OSError as error:
        log.warning("sandboxes have no limit on memory and processes", reason=str(error))
        return False
    finally:
        cgroups.remove(group)
    return True


def group_prefix(workspace: Path) -> str:
    """Return the prefix of the names of all control groups of *workspace*."""
    return f"swell-{hashlib.sha256(bytes(workspace.resolve())).hexdigest()[:12]}-"


def clean(workspace: Path, folders: Iterable[str]) -> None:
    """Remove the contents of *folders* of *workspace* and the control groups of an earlier process.

    Raises:
        Unavailable: they cannot be removed.
    """
    # Its processes may still be ending, and writing.
    deadline = time.monotonic() + _CLEAN_WITHIN
    while not _is_clean(workspace, folders):
        if time.monotonic() > deadline:
            raise Unavailable(f"files or control groups of an earlier process in {workspace} cannot be removed")
        time.sleep(0.05)


def dispose(directory: Path, group: str) -> None:
    """Remove the *directory* of a sandbox and its control groups *group*; wait for their processes to end."""
    remove(directory)
    # A reaped process stays in its group for a moment.
    deadline = time.monotonic() + _CLEAN_WITHIN
    while not cgroups.remove(group) and time.monotonic() < deadline:
        time.sleep(0.01)


def remove(directory: Path) -> None:
    """Remove *directory* as far as possible, except file systems that are mounted below it.

    Uses rm(1), because `shutil.rmtree` fails for directories that are nested more than about a thousand deep.
    """
    command = ("rm", "--recursive", "--force", "--one-file-system", "--", directory)
    subprocess.run(command, stderr=subprocess.DEVNULL, check=False)  # noqa: S603  (a path of ours)


def _is_clean(workspace: Path, folders: Iterable[str]) -> bool:
    removed = [_is_removed(path) for name in folders for path in (workspace / name).iterdir()]
    return cgroups.remove(group_prefix(workspace) + "*") and all(removed)


def _is_removed(directory: Path) -> bool:
    remove(directory)
    return not directory.exists()
