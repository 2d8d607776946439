"""Which ports a stack listens on, all of them on loopback, and who is in the way."""

import itertools
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from swell.serve import address
from swell_embedded.errors import CannotStart

S3_PORTS = 5  # S3 itself, then the master, volume, filer and admin servers behind it
GRPC_OFFSET = 10_000  # each of those five also answers gRPC that much higher
_FIRST, _BLOCK, _BLOCKS = 10_000, 16, 700  # below 32768, where the kernel takes ports for outgoing connections
_listening = "0A"
_turn = itertools.count()


class Ports(Struct, frozen=True, kw_only=True):
    """A port for each listener of a stack; *s3* is the first of five in a row (see `s3_ports`)."""

    gateway: int = 9090
    data: int = 9091
    registry_proxy: int = 9101
    builder: int = 9102
    scanner: int = 9103
    metrics: int = 9104
    s3: int = 9333
    redis: int = 9379
    nats: int = 9422
    registry: int = 9500

    @classmethod
    def default(cls, environment: Mapping[str, str] | None = None) -> "Ports":
        """The ports of `make up`; the two public ones follow SWELL_LISTEN and SWELL_DATA_LISTEN."""
        told = environment or {}
        moved = {"gateway": told.get("SWELL_LISTEN"), "data": told.get("SWELL_DATA_LISTEN")}
        return cls(**{name: address(listen).port for name, listen in moved.items() if listen})

    @classmethod
    def free(cls) -> "Ports":
        """Ports that nobody listens on, different at each call and in each process of a parallel test run.

        Raises:
            CannotStart: there is no room left.
        """
        start = os.getpid() * 37
        for _ in range(_BLOCKS):
            first = _FIRST + (start + next(_turn)) % _BLOCKS * _BLOCK
            block = range(first, first + _BLOCK)
            if all(is_free(port) and is_free(port + GRPC_OFFSET) for port in block):
                return cls(s3=first, **dict(zip(_SINGLE, block[S3_PORTS:], strict=False)))
        raise CannotStart("no free block of ports between 10000 and 32000")

    @property
    def s3_ports(self) -> tuple[int, ...]:
        """All ten ports of the S3 server: five, and the same five 10,000 higher."""
        first = range(self.s3, self.s3 + S3_PORTS)
        return (*first, *(port + GRPC_OFFSET for port in first))


_SINGLE = [name for name in Ports.__struct_fields__ if name != "s3"]


def is_free(port: int) -> bool:
    """Whether a server could listen on *port* of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def holder(port: int) -> str | None:
    """The process that listens on *port*, as `name (pid N)`; None when we may not see it.

    Source: proc(5): /proc/net/tcp names the socket, /proc/PID/fd who has it open.
    """
    rows = [line.split() for table in ("tcp", "tcp6") for line in _lines(Path("/proc/net", table))]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == _listening and row[1].endswith(f":{port:04X}")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in sockets for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # gone meanwhile, or another user's
            continue
    return None


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:] if table.exists() else []
