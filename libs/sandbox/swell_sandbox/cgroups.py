"""Control groups: limits for all processes of a sandbox together; versions 1 and 2.

Source: Linux, Control Group v2, https://docs.kernel.org/admin-guide/cgroup-v2.html
Source: Linux, Control Groups version 1, https://docs.kernel.org/admin-guide/cgroup-v1/
"""

from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_CONTAINER = "container"
"""The group for the processes of a container, in version 2."""
_TRIES = 5


def is_version_2() -> bool:
    """Whether this machine has control groups of version 2 alone, as current distributions do."""
    return (_ROOT / "cgroup.controllers").exists()


def make(name: str, *, memory: int, pids: int) -> tuple[Path, ...]:
    """Create the group *name*, for *memory* bytes and *pids* processes and threads; return the groups to enter.

    Raises:
        OSError: this machine does not allow it.
    """
    if is_version_2():
        _allow_limits()
        return (_limited(_ROOT / name, {"memory.max": memory, "pids.max": pids}),)
    memory_group = _limited(_ROOT / "memory" / name, {"memory.limit_in_bytes": memory})
    pids_group = _limited(_ROOT / "pids" / name, {"pids.max": pids})
    return memory_group, pids_group, _limited(_ROOT / "devices" / name, {})  # runc refuses to run without the last


def _allow_limits() -> None:
    """Allow groups below the root to have limits, in version 2.

    The root of a container is not that of the machine: groups below it have limits only when no process is in it, so
    all of the container's are moved into a group of their own.
    """
    control = _ROOT / "cgroup.subtree_control"
    if {"memory", "pids"} <= set(control.read_text().split()):
        return
    if (_ROOT / "cgroup.type").exists():  # the machine's root has no such file
        own = _ROOT / _CONTAINER
        own.mkdir(exist_ok=True)
        for _ in range(_TRIES):  # a process may start another one meanwhile
            for process in (_ROOT / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    (own / "cgroup.procs").write_text(process)
    control.write_text("+memory +pids")


def has_killed(groups: tuple[Path, ...]) -> bool:
    """Whether the kernel has killed a process in *groups* because their memory limit was reached."""
    return any(_kills(group / file) for group in groups for file in ("memory.events", "memory.oom_control"))


def _kills(file: Path) -> bool:
    try:
        events = dict(line.split() for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return False
    return events.get("oom_kill", "0") != "0"


def remove(pattern: str) -> bool:
    """Remove the groups whose names match *pattern*; return False if one still has processes."""
    removed = [_is_removed(group) for group in (*_ROOT.glob(pattern), *_ROOT.glob(f"*/{pattern}"))]
    return all(removed)


def _is_removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return not group.exists()
    return True


def _limited(group: Path, limits: dict[str, int]) -> Path:
    group.mkdir()
    for file, value in limits.items():
        (group / file).write_text(str(value))
    return group
