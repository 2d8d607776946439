"""The network of a build: its own, with a way out, and none to this machine's loopback, where queues and stores listen.

All commands of a build are in it, buildah too, which fetches what `ADD` names by itself. The way out is slirp4netns,
an unprivileged process. Registries on this machine's loopback are reached where the operator allows them: we listen
under their address in the build's network, and pass the bytes on.
"""

import asyncio
import ctypes
import os
import socket
from collections.abc import AsyncIterator, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

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
_RESOLVER = "10.0.2.3"  # slirp4netns(1)

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
async def open_network(room: Room, registries: Collection[Address]) -> AsyncIterator[Path]:
    """A network namespace, as a path to enter it by; *registries* are there under their addresses.

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
            raise BuildFailure(Reason.ENGINE, f"A network for the build cannot be had: {_said(room)}.")
        namespace = Path(f"/proc/{slirps[0]}/root{HERE}/netns")
        async with _forwarding(namespace, registries):
            yield namespace


def _said(room: Room) -> str:
    log = (room.path / "network.log").read_text(errors="replace").split()
    return " ".join(log)[-300:] or "it does not start"


@asynccontextmanager
async def _forwarding(namespace: Path, registries: Collection[Address]) -> AsyncIterator[None]:
    """Take connections to *registries* inside, and make them outside; all end with the block."""
    tasks = set[asyncio.Task[None]]()
    free = asyncio.Semaphore(_MOST_CONNECTIONS)

    try:
        sockets = await _listen(namespace, registries)
    except OSError as error:
        raise BuildFailure(Reason.ENGINE, f"A network for the build cannot be had: {error}.") from error
    async with AsyncExitStack() as opened:
        for address, listening in zip(registries, sockets, strict=True):

            def connected(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address = address
            ) -> None:
                task = asyncio.create_task(_forward(reader, writer, address, free))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

            await opened.enter_async_context(await asyncio.start_server(connected, sock=listening, limit=_CHUNK))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(namespace: Path, registries: Iterable[Address]) -> list[socket.socket]:
    """Sockets that listen inside: the namespace is a thread's, so it is entered by one that ends at once."""

    def listen() -> list[socket.socket]:
        file = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(file, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "the build's network cannot be entered")
        finally:
            os.close(file)
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            socket.create_server((address.host, address.port), family=families[":" in address.host])
            for address in registries
        ]

    with ThreadPoolExecutor(1, thread_name_prefix="network") as alone:
        return await asyncio.get_running_loop().run_in_executor(alone, listen)


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address, free: asyncio.Semaphore
) -> None:
    try:
        async with free:
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
