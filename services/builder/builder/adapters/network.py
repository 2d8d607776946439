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
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

from builder.adapters.process import children, started
from builder.adapters.room import HERE, Room
from builder.domain.failure import BuildFailure
from builder.domain.loopback import Address
from swell.store.records import Reason

_READY_WITHIN = 10.0
_CONNECT_WITHIN = 10.0
_MOST_CONNECTIONS = 64
_CHUNK = 256 * 1024
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_SIOCADDRT, _RTF_REJECT = 0x890B, 0x0200  # linux/sockios.h, linux/route.h
_RESOLVER = "10.0.2.3"  # slirp4netns(1)

_T = TypeVar("_T")

# The user namespace is the room's; so slirp4netns, which reads what the build sends, is an unprivileged user. Its
# resolver is this machine's. As in a room, a shell waits for it, and dies with us.
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
ids="$_CONTAINERS_ROOTLESS_UID,0,65536"
unshare --user --map-users="$ids" --map-groups="$ids" --setuid 0 --setgid 0 --mount -- sh -ec '{_SLIRP}' || exit $?
exit 0
"""


def resolv_conf() -> str:
    """`/etc/resolv.conf` for a build: this machine's, but for the resolver, which is slirp4netns."""
    try:
        ours = Path("/etc/resolv.conf").read_text(errors="replace").splitlines()
    except OSError:
        ours = []
    kept = [line for line in ours if line.startswith(("search", "options"))]
    return "\n".join([*kept, f"nameserver {_RESOLVER}", ""])


@asynccontextmanager
async def open_network(room: Room, registries: Collection[Address], denied: Collection[str]) -> AsyncIterator[Path]:
    """A network namespace, as a path to enter it by; *registries* are there under their addresses, and no way leads to
    the IPv4 networks *denied*.

    Raises:
        BuildFailure: it cannot be had here.
    """
    command = ("sh", "-c", _ENTER)
    async with started(command, environment=room.environment(), directory=room.path) as process:
        assert process.stdout is not None  # noqa: S101  (piped by `started`)
        ready = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(_READY_WITHIN):
                ready = await process.stdout.read(1)
        slirps = [slirp for shell in children(process.pid) for slirp in children(shell)]
        if not ready or not slirps:
            raise _cannot(_said(room))
        namespace = Path(f"/proc/{slirps[0]}/root{HERE}/netns")
        try:
            sockets = await _inside(namespace, lambda: _prepare(registries, denied))
        except (OSError, ValueError) as error:
            raise _cannot(str(error)) from error
        async with _forwarding(dict(zip(registries, sockets, strict=True))):
            yield namespace


def _cannot(why: str) -> BuildFailure:
    return BuildFailure(Reason.ENGINE, f"A network for the build cannot be had: {why}.")


def _said(room: Room) -> str:
    log = (room.path / "network.log").read_text(errors="replace").split()
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


def _prepare(registries: Iterable[Address], denied: Iterable[str]) -> list[socket.socket]:
    """Refuse what is *denied*, and listen in the place of *registries*."""
    for network in denied:
        _refuse(IPv4Network(network))
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return [
        socket.create_server((address.host, address.port), family=families[":" in address.host])
        for address in registries
    ]


def _refuse(network: IPv4Network) -> None:
    """Add a route by which nothing goes out: `struct rtentry` of linux/route.h."""
    destination, none, mask = (
        struct.pack("=HH4s8x", socket.AF_INET, 0, IPv4Address(address).packed)
        for address in (network.network_address, 0, network.netmask)
    )
    route = struct.pack("@L16s16s16sHhLPhPLLH", 0, destination, none, mask, _RTF_REJECT, 0, 0, 0, 0, 0, 0, 0, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCADDRT, route)


@asynccontextmanager
async def _forwarding(listening: Mapping[Address, socket.socket]) -> AsyncIterator[None]:
    """Take connections inside, and make them to the same address outside; all end with the block."""
    tasks = set[asyncio.Task[None]]()

    def connected(address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(tasks) >= _MOST_CONNECTIONS:
            writer.close()
            return
        task = asyncio.create_task(_forward(address, reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async with AsyncExitStack() as opened:
        for address, sock in listening.items():
            server = await asyncio.start_server(partial(connected, address), sock=sock, limit=_CHUNK)
            await opened.enter_async_context(server)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_CONNECT_WITHIN):
            there, back = await asyncio.open_connection(address.host, address.port, limit=_CHUNK)
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            back.close()
    except OSError:
        pass  # whoever asked sees a connection that ends
    finally:
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
