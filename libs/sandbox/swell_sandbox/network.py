"""A network for a sandbox, which reaches the Internet but not this machine's loopback, where stores listen.

slirp4netns, an unprivileged process in its own sandbox, forwards packets. For services on this machine's loopback that
the caller allows, this process listens under their address in the network and forwards the bytes.

Source: slirp4netns(1), https://github.com/rootless-containers/slirp4netns/blob/master/slirp4netns.1.md
"""

import asyncio
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from msgspec import Struct

from swell.disk import in_thread
from swell_sandbox import cgroups
from swell_sandbox.errors import SandboxUnavailable
from swell_sandbox.forwarding import Address, forwarding
from swell_sandbox.namespaces import in_network, listen, reject_networks
from swell_sandbox.process import children
from swell_sandbox.root import SCRATCH
from swell_sandbox.sandbox import Sandbox, new_directory
from swell_sandbox.workspace import dispose, group_prefix

_READY_WITHIN = 10.0
_MEMORY, _PROCESSES = 512 << 20, 64  # of slirp4netns, which reads untrusted packets
_RESOLVER = "10.0.2.3"  # slirp4netns(1)

# slirp4netns reads untrusted packets. It forwards DNS requests to this machine's resolver.
_SLIRP = f"""\
cd {SCRATCH}/work
exec 3>&1 > network.log 2>&1
unshare --net=netns true
exec slirp4netns --configure --mtu=65520 --disable-host-loopback --ready-fd=3 --netns-type=path netns tap0
"""


class Network(Struct, frozen=True, kw_only=True):
    """A network namespace: `namespace` is a path to enter it by."""

    namespace: Path

    @property
    def is_open(self) -> bool:
        """Whether it can be entered; the namespace ends with slirp4netns."""
        return self.namespace.exists()


def resolv_conf() -> str:
    """Return `/etc/resolv.conf` for a sandbox in a network: this machine's, with slirp4netns as resolver."""
    try:
        lines = Path("/etc/resolv.conf").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    options = [line for line in lines if line.startswith(("search", "options"))]
    return "\n".join([*options, f"nameserver {_RESOLVER}", ""])


@asynccontextmanager
async def open_network(
    workspace: Path, user_id: int, denied: Collection[str], *, limited: bool
) -> AsyncIterator[Network]:
    """Open a network that has no route to the IPv4 networks *denied*; its files are below `networks` of *workspace*.

    slirp4netns runs with user ids from *user_id*, and, if *limited*, in control groups.

    Raises:
        SandboxUnavailable: slirp4netns does not start, or an entry of *denied* is not a network.
        OSError: the disk is full, for example.
    """
    path = new_directory(workspace / "networks")
    group = group_prefix(workspace) + path.name
    try:
        groups = cgroups.make(group, memory=_MEMORY, pids=_PROCESSES) if limited else ()
        sandbox = Sandbox(directory=path, user_id=user_id, cgroups=groups)
        sandbox.prepare()
        (sandbox.work / "netns").touch()
        os.chown(sandbox.work / "netns", user_id, user_id)
        async with sandbox.start(("sh", "-ec", _SLIRP)) as process:
            network = await _ready(process, sandbox)
            try:
                await in_network(network.namespace, lambda: reject_networks(denied))
            except (OSError, ValueError) as error:
                raise _unavailable(str(error)) from error
            yield network
    finally:
        await in_thread(dispose, path, group)


@asynccontextmanager
async def reach(network: Network, services: Collection[Address]) -> AsyncIterator[Path]:
    """Make loopback *services* reachable in *network* for the length of the block; yield its namespace.

    Raises:
        SandboxUnavailable: the network cannot be entered, or an address is in use.
    """
    try:
        sockets = await in_network(network.namespace, lambda: listen(services)) if services else []
    except OSError as error:
        raise _unavailable(str(error)) from error
    async with forwarding(dict(zip(services, sockets, strict=True))):
        yield network.namespace


async def _ready(process: Process, sandbox: Sandbox) -> Network:
    assert process.stdout is not None  # noqa: S101  (a pipe)
    ready = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_WITHIN):
            ready = await process.stdout.read(1)
    slirps = [slirp for shell in children(process.pid) for slirp in children(shell)]
    if not ready or not slirps:
        raise _unavailable(_log_of(sandbox) or ready.decode(errors="replace") or "it does not start")
    return Network(namespace=Path(f"/proc/{slirps[0]}/root{SCRATCH}/work/netns"))


def _unavailable(why: str) -> SandboxUnavailable:
    return SandboxUnavailable(f"The network of the build cannot be created: {why}.")


def _log_of(sandbox: Sandbox) -> str:
    try:
        return " ".join(sandbox.read("network.log", 4096).decode(errors="replace").split())[-300:]
    except OSError:
        return ""
