"""The ports of a stack, all on loopback, and the processes that use them."""

import itertools
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from swell.serve import address
from swell_embedded.errors import CannotStart

S3_PORTS = 5  # S3 itself, then the master, volume, filer and admin servers behind it
GRPC_OFFSET = 10_000  # each of those five also serves gRPC on its port plus this offset
OPERATED = ("gateway", "registry-proxy", "builder", "scanner", "metrics")  # in the order of their operator ports
_FIRST, _BLOCK, _BLOCKS = 10_000, 20, 560  # below 32768, where the kernel takes ports for outgoing connections
_LOWEST, _HIGHEST = 1024, 65535
_LISTENING = "0A"
_calls = itertools.count()


class Ports(Struct, frozen=True, kw_only=True):
    """A port for each listener of a stack; *s3* and *operator* are the first of five in a row."""

    gateway: int = 9090
    data: int = 9091
    registry_proxy: int = 9101
    builder: int = 9102
    scanner: int = 9103
    metrics: int = 9104
    operator: int = 9190
    s3: int = 9333
    redis: int = 9379
    nats: int = 9422
    registry: int = 9500

    @classmethod
    def default(cls, environment: Mapping[str, str] | None = None) -> "Ports":
        """Return the ports of `make up`; SWELL_LISTEN and SWELL_DATA_LISTEN set the two public ones."""
        variables = environment or {}
        moved = {"gateway": variables.get("SWELL_LISTEN"), "data": variables.get("SWELL_DATA_LISTEN")}
        return cls(**{name: address(listen).port for name, listen in moved.items() if listen})

    def plus(self, offset: int) -> "Ports":
        """Return the same ports plus *offset*, for another stack on this machine.

        Raises:
            CannotStart: a port would not be between 1024 and 65535.
        """
        moved = Ports(**{name: getattr(self, name) + offset for name in Ports.__struct_fields__})
        numbers = [*moved.s3_ports, *moved.operator_ports, *(getattr(moved, name) for name in _SINGLE)]
        if min(numbers) < _LOWEST or max(numbers) > _HIGHEST:
            raise CannotStart(
                f"PORTS={offset:+d} gives ports outside of {_LOWEST} to {_HIGHEST}; use +1000, for example"
            )
        return moved

    @classmethod
    def free(cls) -> "Ports":
        """Return unused ports, different for each call and for each process of a parallel test run.

        Raises:
            CannotStart: no block of ports is free.
        """
        start = os.getpid() * 37
        for _ in range(_BLOCKS):
            first = _FIRST + (start + next(_calls)) % _BLOCKS * _BLOCK
            block = range(first, first + _BLOCK)
            if all(is_free(port) and is_free(port + GRPC_OFFSET) for port in block):
                operator, single = first + S3_PORTS, block[S3_PORTS + len(OPERATED) :]
                return cls(s3=first, operator=operator, **dict(zip(_SINGLE, single, strict=False)))
        raise CannotStart("no free block of ports between 10000 and 32000")

    @property
    def s3_ports(self) -> tuple[int, ...]:
        """All ten ports of the S3 server: five, and for gRPC the same five plus 10,000."""
        first = range(self.s3, self.s3 + S3_PORTS)
        return (*first, *(port + GRPC_OFFSET for port in first))

    @property
    def operator_ports(self) -> tuple[int, ...]:
        """The operator ports of the services, in the order of `OPERATED`."""
        return tuple(range(self.operator, self.operator + len(OPERATED)))

    def operator_of(self, service: str) -> int:
        """Return the operator port of *service*."""
        return self.operator + OPERATED.index(service)


_SINGLE = [name for name in Ports.__struct_fields__ if name not in {"s3", "operator"}]


def is_free(port: int) -> bool:
    """Return whether a server can listen on *port* of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def holder(port: int) -> str | None:
    """Return the process that listens on *port*, as `name (pid N)`; None if it is not visible to this user.

    /proc/net/tcp has the socket, and /proc/PID/fd the process that has it open.

    Source: proc(5), https://man7.org/linux/man-pages/man5/proc.5.html
    """
    rows = [line.split() for table in ("tcp", "tcp6") for line in _lines(Path("/proc/net", table))]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTENING and row[1].endswith(f":{port:04X}")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in sockets for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # the process has ended, or belongs to another user
            continue
    return None


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:] if table.exists() else []
