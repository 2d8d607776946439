"""Runs programs that are not trusted, apart from the machine that runs them.

A sandbox has a root file system of its own, with only the system's programs, its own scratch directory and the mounts
that it is given. Its processes are root of a user namespace, and an unprivileged user of the machine. They have
process ids, mounts, control groups and, if wanted, a network of their own. When a command ends, all that it started
ends with it.

    sandbox = Sandbox(directory=scratch, user_id=524288, network=network.namespace)
    sandbox.prepare(files={"settings.json": "{}"})
    status = await sandbox.run(["program", "/tmp/work"], on_line=log)

| module | what it has |
|---|---|
| `sandbox` | `Sandbox`: prepare it, run commands in it, read what they left |
| `root` | the mount namespace: a root file system that holds only what is named |
| `process` | commands with process ids of their own, which end with all their descendants |
| `lines` | output in lines of bounded length |
| `cgroups` | limits for memory and processes |
| `network`, `network_pool`, `forwarding` | a network that does not reach this machine's loopback |
| `workspace` | directories and control groups that a killed process left behind |

It needs Linux 5.13 or newer, root, and from Debian: util-linux, uidmap, slirp4netns (for networks).
"""

from swell_sandbox.errors import SandboxUnavailable
from swell_sandbox.root import SCRATCH, Mount
from swell_sandbox.sandbox import SECRET, Sandbox

__all__ = ["SCRATCH", "SECRET", "Mount", "Sandbox", "SandboxUnavailable"]
