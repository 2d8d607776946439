"""The network of a build: its own, with a way out, and none to this machine's loopback, where queues and stores listen.

All commands of a build are in it, buildah too, which fetches what `ADD` names by itself. The way out is slirp4netns,
an unprivileged process. Registries on this machine's loopback are reached where the operator allows them: we listen
under their address in the build's network, and pass the bytes on.
"""

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from builder.adapters import cgroups
from builder.adapters.forwarding import forwarding
from builder.adapters.process import children, started
from builder.adapters.room import HERE, USER_IDS, lay_ids, lay_tun
from builder.adapters.workspace import disk_trouble, group_prefix, leave
from builder.domain.failure import BuildFailure
from builder.domain.loopback import Address
from swell.disk import in_thread
from swell.store.records import Reason

_READY_WITHIN = 10.0
_MEMORY, _PROCESSES = 512 << 20, 64  # of slirp4netns, which a build makes work
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_SIOCADDRT, _RTF_REJECT = 0x890B, 0x0200  # linux/sockios.h, linux/route.h
_RESOLVER = "10.0.2.3"  # slirp4netns(1)

_T = TypeVar("_T")

# slirp4netns, which reads what the build sends, is an unprivileged user, in a user namespace of its own. Its resolver
# is this machine's. As in a room, a shell waits for it, and dies with us.
_SLIRP = f"""\
exec 3>&1 > network.log 2>&1
unshare --net={HERE}/netns true
exec slirp4netns --configure --mtu=65520 --disable-host-loopback --ready-fd=3 --netns-type=path {HERE}/netns tap0
"""
_ENTER = f"""\
set -e
for group in $CGROUPS; do echo 0 > "$group"; done
mount --bind subids /etc/subuid
mount --bind subids /etc/subgid
mount --bind tun /dev/net/tun
mount --rbind . {HERE}
cd {HERE}
unshare --user --map-users="$IDS" --map-groups="$IDS" --setuid 0 --setgid 0 --mount -- sh -ec '{_SLIRP}' || exit $?
exit 0
"""


class Network(Struct, frozen=True, kw_only=True):
    """A network namespace: `namespace` is a path to enter it by."""

    namespace: Path

    @property
    def is_open(self) -> bool:
        """Whether it can be entered yet: the namespace goes with its way out."""
        return self.namespace.exists()


def resolv_conf() -> str:
    """`/etc/resolv.conf` for a build: this machine's, but for the resolver, which is slirp4netns."""
    try:
        ours = Path("/etc/resolv.conf").read_text(errors="replace").splitlines()
    except OSError:
        ours = []
    kept = [line for line in ours if line.startswith(("search", "options"))]
    return "\n".join([*kept, f"nameserver {_RESOLVER}", ""])


@asynccontextmanager
async def open_network(
    workspace: Path, user_id: int, denied: Collection[str], *, limited: bool
) -> AsyncIterator[Network]:
    """A network from which no way leads to the IPv4 networks *denied*; its user's ids begin with *user_id*.

    Raises:
        BuildFailure: it cannot be had here.
    """
    with disk_trouble():
        path = Path(tempfile.mkdtemp(dir=workspace / "networks"))
    group = group_prefix(workspace) + path.name
    try:
        with disk_trouble():
            groups = cgroups.make(group, memory=_MEMORY, pids=_PROCESSES) if limited else ()
            _furnish(path, user_id)
        environment = _environment(user_id, groups)
        async with started(("sh", "-c", _ENTER), environment=environment, directory=path) as process:
            network = await _ready(process, path)
            try:
                await _inside(network.namespace, lambda: _refuse(denied))
            except (OSError, ValueError) as error:
                raise _cannot(str(error)) from error
            yield network
    finally:
        await in_thread(leave, path, group)


@asynccontextmanager
async def reaching(network: Network, registries: Collection[Address]) -> AsyncIterator[Path]:
    """The namespace of *network*, in which *registries* are under their addresses for the length of the block.

    Raises:
        BuildFailure: that cannot be done.
    """
    try:
        sockets = await _inside(network.namespace, lambda: _listen(registries)) if registries else []
    except OSError as error:
        raise _cannot(str(error)) from error
    async with forwarding(dict(zip(registries, sockets, strict=True))):
        yield network.namespace


def _furnish(directory: Path, user_id: int) -> None:
    directory.chmod(0o711)
    lay_ids(directory, user_id)
    lay_tun(directory)
    for name in ("netns", "network.log"):
        (directory / name).touch()
        os.chown(directory / name, user_id, user_id)


def _environment(user_id: int, groups: Iterable[Path]) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "CGROUPS": cgroups.entrances(groups),
        "IDS": f"{user_id},0,{USER_IDS}",
    }


async def _ready(process: Process, directory: Path) -> Network:
    assert process.stdout is not None  # noqa: S101  (piped by `started`)
    ready = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_WITHIN):
            ready = await process.stdout.read(1)
    slirps = [slirp for shell in children(process.pid) for slirp in children(shell)]
    if not ready or not slirps:
        raise _cannot(_said(directory))
    return Network(namespace=Path(f"/proc/{slirps[0]}/root{HERE}/netns"))


def _cannot(why: str) -> BuildFailure:
    return BuildFailure(Reason.ENGINE, f"A network for the build cannot be had: {why}.")


def _said(directory: Path) -> str:
    log = (directory / "network.log").read_text(errors="replace").split()
    return " ".join(log)[-300:] or "it does not start"


async def _inside(namespace: Path, work: Callable[[], _T]) -> _T:
    """What *work* gives in *namespace*, which is a thread's: one that ends with the work."""

    def enter() -> _T:
        file = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(file, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "it cannot be entered")
        finally:
            os.close(file)
        return work()

    with ThreadPoolExecutor(1, thread_name_prefix="network") as alone:
        return await asyncio.get_running_loop().run_in_executor(alone, enter)


def _listen(registries: Iterable[Address]) -> list[socket.socket]:
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return [
        socket.create_server((address.host, address.port), family=families[":" in address.host])
        for address in registries
    ]


def _refuse(networks: Iterable[str]) -> None:
    """Add a route to each of *networks* by which nothing goes out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for network in networks:
            fcntl.ioctl(any_socket, _SIOCADDRT, _rejection(IPv4Network(network)))


def _rejection(network: IPv4Network) -> bytes:
    """`struct rtentry` of linux/route.h."""
    destination, none, mask = (
        struct.pack("=HH4s8x", socket.AF_INET, 0, IPv4Address(address).packed)
        for address in (network.network_address, 0, network.netmask)
    )
    return struct.pack("@L16s16s16sHhLPhPLLH", 0, destination, none, mask, _RTF_REJECT, 0, 0, 0, 0, 0, 0, 0, 0)
