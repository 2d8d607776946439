"""A NATS cluster on loopback: real servers with JetStream, each of which a test may kill and start again."""

import sysconfig
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from signal import Signals

from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.child import Child
from swell_embedded.processes.program import Program
from tests.e2e.environment import of_this_machine

USER, PASSWORD = "swell", "p@ss/w:rd%"
LOGIN = "swell:p%40ss%2Fw%3Ard%25"


class Cluster:
    """The servers by name, `n1` first; *url* is that of all of them."""

    def __init__(self, programs: dict[str, Program], logs: Path, url: str) -> None:
        self.url = url
        self._programs = programs
        self._logs = logs
        self._running: dict[str, Child] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._programs)

    def name_of(self, port: int) -> str:
        """The name of the server on *port*."""
        return next(name for name, each in self._programs.items() if port in each.ports)

    async def start(self, *names: str) -> None:
        for name in names:
            self._running[name] = await Child.start(self._programs[name], self._logs)
        for name in names:
            await self._running[name].ready()

    async def kill(self, name: str) -> None:
        """Kill a server with -9, and reap it."""
        child = self._running.pop(name)
        child.send(Signals.SIGKILL)
        await child.stop()

    async def stop(self) -> None:
        for child in self._running.values():
            await child.stop()


def server(
    name: str, home: Path, port: int, cluster: tuple[int, Iterable[int]] | None = None, more: str = ""
) -> Program:
    """A NATS server on *port*; *cluster* has its own port for the others, and theirs; *more* is configuration."""
    config = f"""
        server_name: {name}
        listen: "127.0.0.1:{port}"
        max_payload: 8MB
        jetstream {{ store_dir: "{home / name}", sync_interval: always }}
        {more or f'authorization {{ user: "{USER}", password: "{PASSWORD}" }}'}
    """
    if cluster:
        own, others = cluster
        routes = ", ".join(f'"nats://127.0.0.1:{each}"' for each in others)
        config += f'cluster {{ name: swell, listen: "127.0.0.1:{own}", routes: [{routes}] }}\n'
    path = home / f"{name}.conf"
    path.write_text(config)
    return Program(
        name=name,
        command=(str(Path(sysconfig.get_path("scripts"), "nats-server")), "-c", str(path)),
        environment=of_this_machine(),
        ready=probes.tcp(port, expect=b"INFO "),
        ports=(port,),
    )


@asynccontextmanager
async def open_cluster(home: Path) -> AsyncIterator[Cluster]:
    """Start three servers, with their data in *home*."""
    home.mkdir(parents=True, exist_ok=True)
    free = Ports.free()
    pairs = (free.nats, free.redis), (free.gateway, free.data), (free.builder, free.scanner)
    ports = dict(zip(("n1", "n2", "n3"), pairs, strict=True))
    routes = [route for _, route in ports.values()]
    programs = {name: server(name, home, port, (route, routes)) for name, (port, route) in ports.items()}
    url = ",".join(f"nats://{LOGIN}@127.0.0.1:{port}" for port, _ in ports.values())
    cluster = Cluster(programs, home, url)
    try:
        await cluster.start(*programs)
        yield cluster
    finally:
        await cluster.stop()
