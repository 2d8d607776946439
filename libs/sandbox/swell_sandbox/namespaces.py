"""Work in the network namespace of a sandbox: listen, set an interface up, reject networks."""

import asyncio
import fcntl
import socket
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

from swell_sandbox.forwarding import Address
from swell_sandbox.root import enter_network

_SIOCADDRT, _RTF_REJECT = 0x890B, 0x0200  # linux/sockios.h, linux/route.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h

_T = TypeVar("_T")


def network_of(pid: int) -> Path:
    """Return the network namespace of the process *pid*."""
    return Path(f"/proc/{pid}/ns/net")


async def in_network(namespace: Path, work: Callable[[], _T]) -> _T:
    """Run *work* in a new thread, which enters *namespace*; return its result.

    Raises:
        OSError: the namespace has ended; and the errors of *work*.
    """

    def enter() -> _T:
        enter_network(namespace)
        return work()

    with ThreadPoolExecutor(1, thread_name_prefix="network") as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, enter)


def listen(services: Iterable[Address]) -> list[socket.socket]:
    """Return a socket for each of *services* that listens at its address in the namespace of this thread.

    Raises:
        OSError: an address is in use.
    """
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return [socket.create_server((host, port), family=families[":" in host]) for host, port in services]


def set_loopback_up() -> None:
    """Set the interface `lo` of the namespace of this thread up.

    Source: netdevice(7), https://man7.org/linux/man-pages/man7/netdevice.7.html
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[0]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def reject_networks(networks: Iterable[str]) -> None:
    """In the network namespace of this thread, add a route to each of the IPv4 *networks* that rejects packets."""
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
