"""Control groups of a daemon: one for buildkitd, with limits of ours, and one for the steps, with the build's limits.

A step that takes all its memory or processes so ends itself, not the daemon that has to say so. Steps enter their group
through the file `cgroup.procs`, which belongs to the user of the sandbox.
Sources: Linux, "Control Group v2", "Delegation", https://docs.kernel.org/admin-guide/cgroup-v2.html#delegation, and
"Control Groups", https://docs.kernel.org/admin-guide/cgroup-v1/cgroups.html
"""

import os
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from swell_sandbox import Mount, cgroups

DAEMON_MEMORY = 1 << 30
DAEMON_PROCESSES = 2048
FOLDER = "/run/steps"
"""Where the sandbox has the files by which steps enter their groups."""

_ROOT = Path("/sys/fs/cgroup")


class StepGroups(Struct, frozen=True, kw_only=True):
    daemon: tuple[Path, ...] = ()
    steps: tuple[Path, ...] = ()
    outer: tuple[Path, ...] = ()
    """Version 2: the group of both, with the limits of both together. The sandbox has no cgroup namespace there: with
    the mount option `nsdelegate`, which systemd uses, steps could not leave the daemon's group."""

    @classmethod
    def make(cls, name: str, *, memory: int, pids: int, user_id: int) -> "StepGroups":
        """Make the groups *name* and, for steps, one with the limits *memory* (bytes) and *pids*.

        Raises:
            OSError: this machine does not allow it.
        """
        if cgroups.is_version_2():
            outer = cgroups.make(name, memory=memory + DAEMON_MEMORY, pids=pids + DAEMON_PROCESSES)[0]
            (outer / "cgroup.subtree_control").write_text("+memory +pids")
            (outer / "daemon").mkdir()
            steps = outer / "steps"
            steps.mkdir()
            (steps / "memory.max").write_text(str(memory))
            (steps / "pids.max").write_text(str(pids))
            os.chown(outer / "cgroup.procs", user_id, user_id)
            groups = cls(daemon=(outer / "daemon",), steps=(steps,), outer=(outer,))
        else:
            groups = cls(
                daemon=cgroups.make(name, memory=DAEMON_MEMORY, pids=DAEMON_PROCESSES),
                steps=cgroups.make(f"{name}.steps", memory=memory, pids=pids),
            )
        for group in groups.steps:
            os.chown(group / "cgroup.procs", user_id, user_id)
        return groups

    @property
    def mounts(self) -> tuple[Mount, ...]:
        return tuple(
            Mount(group / "cgroup.procs", f"{FOLDER}/{number}", writable=True)
            for number, group in enumerate(self.steps)
        )

    def remove_children(self) -> None:
        """Remove the groups inside the outer one (version 2), so that it can be removed; no process is in them."""
        for group in (*self.daemon, *self.steps):
            if group.parent.parent == _ROOT and cgroups.is_version_2():
                with suppress(OSError):
                    group.rmdir()

    def memory_kills(self) -> int:
        """How many processes of steps the kernel has ended because they had no memory left."""
        return sum(_event(group / file, "oom_kill") for group in (*self.steps, *self.outer) for file in _MEMORY_FILES)

    def refused_processes(self) -> int:
        """How many processes steps could not start because of their number."""
        return sum(_event(group / "pids.events", "max") for group in (*self.steps, *self.outer))


_MEMORY_FILES = ("memory.events", "memory.oom_control")


def _event(file: Path, name: str) -> int:
    try:
        events = dict(line.split() for line in file.read_text().splitlines())
        return int(events.get(name, "0"))
    except (OSError, ValueError):
        return 0
