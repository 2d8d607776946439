"""A builder's workspace: one builder's alone, with nothing in it of a former life."""

import errno
import fcntl
import hashlib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.adapters import cgroups
from builder.domain.failure import BuildFailure
from swell.errors import Unavailable
from swell.log import log
from swell.store.records import Reason

_CLEAN_WITHIN = 10.0


@contextmanager
def only_one(workspace: Path) -> Iterator[None]:
    """Keep *workspace* for this process; raises `Unavailable` where another has it."""
    with (workspace / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(f"another builder works in {workspace}") from error
        yield


@contextmanager
def disk_trouble() -> Iterator[None]:
    """What goes wrong in the block with our files is a build's failure."""
    try:
        yield
    except OSError as error:
        reason = Reason.DISK if error.errno in {errno.ENOSPC, errno.EDQUOT} else Reason.ENGINE
        raise BuildFailure(reason, f"The builder cannot write its files: {error.strerror}.") from error


def can_limit(workspace: Path) -> bool:
    """Whether builds can be held to an amount of memory here; the log says why not."""
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


def clean(workspace: Path) -> None:
    """Remove what builds of a former life left; raises `Unavailable` if that cannot be done."""
    # Their processes may be dying yet, and write as they do.
    give_up = time.monotonic() + _CLEAN_WITHIN
    while not _is_clean(workspace):
        if time.monotonic() > give_up:
            raise Unavailable(f"what former builds left in {workspace} or its control groups cannot be removed")
        time.sleep(0.05)


def leave(room: Path, group: str) -> None:
    """Remove the directory *room* and the control groups *group*, when no process is in them any more."""
    remove(room)
    # A process that has been waited for still counts for a moment.
    give_up = time.monotonic() + _CLEAN_WITHIN
    while not cgroups.remove(group) and time.monotonic() < give_up:
        time.sleep(0.01)


def remove(directory: Path) -> None:
    """Remove *directory*, as far as it can be, and nothing that is mounted there.

    Steps make folders as deep as they like, and Python's own way of removing them gives up at a thousand.
    """
    command = ("rm", "--recursive", "--force", "--one-file-system", "--", directory)
    subprocess.run(command, stderr=subprocess.DEVNULL, check=False)  # noqa: S603  (a path of ours)


def _is_clean(workspace: Path) -> bool:
    rooms = [_is_removed(room) for name in ("builds", "networks") for room in (workspace / name).iterdir()]
    return cgroups.remove(group_prefix(workspace) + "*") and all(rooms)


def _is_removed(directory: Path) -> bool:
    remove(directory)
    return not directory.exists()
