"""A workspace: a directory of one process, in which its sandboxes are, without anything of an earlier process."""

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
            raise Unavailable(f"another builder works in {workspace}") from error
        yield


def can_limit(workspace: Path) -> bool:
    """Whether control groups can be made here; the log says why not."""
    group = group_prefix(workspace) + "trial"
    try:
        cgroups.make(group, memory=1 << 20, pids=1)
    except OSError as error:
        log.warning("builds have no limit on memory and processes", reason=str(error))
        return False
    finally:
        cgroups.remove(group)
    return True


def group_prefix(workspace: Path) -> str:
    """How the names of all control groups of *workspace* begin."""
    return f"swell-{hashlib.sha256(bytes(workspace.resolve())).hexdigest()[:12]}-"


def clean(workspace: Path, folders: Iterable[str]) -> None:
    """Remove what an earlier process left in *folders* of *workspace*, and its control groups.

    Raises:
        Unavailable: something cannot be removed.
    """
    # Its processes may still be ending, and write while they do.
    give_up = time.monotonic() + _CLEAN_WITHIN
    while not _is_clean(workspace, folders):
        if time.monotonic() > give_up:
            raise Unavailable(f"what former builds left in {workspace} or its control groups cannot be removed")
        time.sleep(0.05)


def dispose(directory: Path, group: str) -> None:
    """Remove the *directory* of a sandbox and its control groups *group*, when no process is left in them."""
    remove(directory)
    # A process that has been waited for still counts for a moment.
    give_up = time.monotonic() + _CLEAN_WITHIN
    while not cgroups.remove(group) and time.monotonic() < give_up:
        time.sleep(0.01)


def remove(directory: Path) -> None:
    """Remove *directory*, as far as possible, and nothing that is mounted there.

    Its folders may be nested as deep as a program likes, and Python's own way of removing them gives up at a thousand.
    """
    command = ("rm", "--recursive", "--force", "--one-file-system", "--", directory)
    subprocess.run(command, stderr=subprocess.DEVNULL, check=False)  # noqa: S603  (a path of ours)


def _is_clean(workspace: Path, folders: Iterable[str]) -> bool:
    removed = [_is_removed(path) for name in folders for path in (workspace / name).iterdir()]
    return cgroups.remove(group_prefix(workspace) + "*") and all(removed)


def _is_removed(directory: Path) -> bool:
    remove(directory)
    return not directory.exists()
