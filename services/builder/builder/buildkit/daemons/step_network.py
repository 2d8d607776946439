"""The network of a daemon's steps: slirp4netns in its own control groups and root file system."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from builder.buildkit.daemons.configuration import STEP_NETWORK
from swell_sandbox import Mount, SandboxUnavailable
from swell_sandbox.process import start
from swell_sandbox.root import open_root

MEMORY, PROCESSES = 512 << 20, 64
"""The limits of slirp4netns, which reads untrusted packets; bytes, and processes with their threads."""
_READY_WITHIN = 30.0  # seconds
_NS_GET_PARENT = 0xB702  # linux/nsfs.h

_SLIRP = """\
exec 3>&1 >/dev/null 2>&1
nsenter --user=/run/ns/outer --setuid 0 --setgid 0 -- slirp4netns --configure --mtu=65520 --disable-host-loopback \
    --ready-fd=3 --enable-sandbox --enable-seccomp --userns-path=/run/ns/inner --netns-type=path /run/ns/network tap0
exit 0
"""


@asynccontextmanager
async def step_network(directory: Path, pid: int, groups: Sequence[Path]) -> AsyncIterator[None]:
    """Run slirp4netns in the control *groups* for the steps of the daemon *pid*, for the length of the block.

    Raises:
        SandboxUnavailable: it does not start.
    """
    base = directory / "slirp"
    base.mkdir()
    inner = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        outer = fcntl.ioctl(inner, _NS_GET_PARENT)
        try:
            mounts = (
                Mount(Path(f"/proc/{os.getpid()}/fd/{outer}"), "/run/ns/outer"),
                Mount(Path(f"/proc/{os.getpid()}/fd/{inner}"), "/run/ns/inner"),
                Mount(namespace_of_steps(pid), "/run/ns/network"),
            )
            etc = {"resolv.conf": Path("/etc/resolv.conf").read_text(errors="replace")}
            namespace = await open_root(base, mounts, etc)
        finally:
            os.close(outer)
    finally:
        os.close(inner)
    try:
        environment = {"PATH": os.environ.get("PATH", os.defpath)}
        async with start(
            ("sh", "-c", _SLIRP), environment=environment, mount_namespace=namespace, cgroups=groups
        ) as process:
            assert process.stdout is not None  # noqa: S101  (a pipe)
            ready = b""
            with suppress(TimeoutError):
                async with asyncio.timeout(_READY_WITHIN):
                    ready = await process.stdout.read(1)
            if ready != b"1":
                raise SandboxUnavailable("The network of the steps cannot be created: slirp4netns does not start.")
            yield
    finally:
        os.close(namespace)


def namespace_of_steps(pid: int) -> Path:
    """Return a path to enter the network namespace of the steps of the daemon *pid*."""
    return Path(f"/proc/{pid}/root{STEP_NETWORK}")
