"""Runs untrusted programs, isolated from the machine.

A sandbox has its own root file system, with the system's programs, a scratch directory and configured mounts. Its
processes are root in a user namespace, and an unprivileged user of the machine. They have their own process ids,
mounts, control groups and, optionally, network. When a command ends, its descendants are killed.

    sandbox = Sandbox(directory=scratch, user_id=524288, network=network.namespace)
    sandbox.prepare(files={"settings.json": "{}"})
    status = await sandbox.run(["program", "/tmp/work"], on_line=log)

| module | what it has |
|---|---|
| `sandbox` | `Sandbox`: prepare it, run commands in it, read their output files |
| `root` | the mount namespace: a root file system with an explicit list of contents |
| `process` | commands in a PID namespace, which are killed with their descendants |
| `lines`, `two_outputs` | output in lines of bounded length; standard error apart from standard output |
| `cgroups` | limits for memory and processes |
| `network`, `network_pool`, `forwarding` | a network that does not reach this machine's loopback |
| `disk` | a limit for the disk usage of a directory |
| `workspace` | removal of the directories and control groups of a killed process |

It needs Linux 5.13 or newer, root, and from Debian: util-linux, uidmap, slirp4netns (for networks).
"""

from swell_sandbox.errors import SandboxUnavailable
from swell_sandbox.root import SCRATCH, Mount
from swell_sandbox.sandbox import SECRET, Sandbox

__all__ = ["SCRATCH", "SECRET", "Mount", "Sandbox", "SandboxUnavailable"]
